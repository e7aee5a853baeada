#pragma once
// Room: what a server keeps for one trainer: the channels to its workers, its state machine and its memory. They are freed together.

#include <memory>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/ps/arena_memory.h"
#include "cohaul/ps/disk.h"
#include "cohaul/ps/outgoing.h"
#include "cohaul/ps/server.h"
#include "cohaul/transport/channel.h"
#include "cohaul/transport/poller.h"

namespace cohaul::ps {

/// One thread uses it. `poller` must outlive it.
class Room final : ToWorkers {
 public:
  /// `job` must outlive it.
  Room(transport::Poller& poller, ServerRank rank, job::Job& job)
      : poller_(poller), disk_(make_disk(job)), server_(rank, memory_, *this, disk_.get()), peers_(job.world()) {}
  ~Room() override;

  /// Takes the channel of a worker that has connected; a former channel of the same rank is closed. channel->peer().rank must be below the job's
  /// world().
  Status enter(std::unique_ptr<transport::Channel> channel);
  /// Handles the messages that have come. Returns whether there were any.
  bool turn();
  /// Sends as much as possible. Returns true if nothing is waiting to be sent.
  bool flush();
  /// Returns whether all workers have said goodbye or were lost.
  bool is_done() const { return server_.is_done(); }

 private:
  struct Peer {
    WorkerRank worker;
    std::unique_ptr<transport::Channel> channel;
    Outgoing outgoing;
    Status failure;           // an error of sending, handled at the peer's next turn
    bool is_refused = false;  // it has been told the reason; its messages are ignored
  };
  void send(WorkerRank to, const transport::Message& message) override;
  bool serve(Peer& peer);
  void refuse(Peer& peer, const Status& why);
  void part(Peer& peer, const Status& why);

  transport::Poller& poller_;
  ArenaMemory memory_;
  std::unique_ptr<Disk> disk_;
  Server server_;
  /// By worker; null: not connected. Declared after the server, because frames in the channels refer to its memory.
  std::vector<std::unique_ptr<Peer>> peers_;
};

}  // namespace cohaul::ps
