#pragma once
// Room: one trainer's conversation at a server: its workers' channels, its state machine, its memory. What it has goes with it.

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

/// One thread. `poller` outlives it.
class Room final : ToWorkers {
 public:
  /// job: outlives it.
  Room(transport::Poller& poller, ServerRank rank, job::Job& job)
      : poller_(poller), disk_(make_disk(job)), server_(rank, memory_, *this, disk_.get()), peers_(job.world()) {}
  ~Room() override;

  /// A worker has come; one of the same rank that was here before is parted with. channel->peer().rank is below the job's world().
  Status enter(std::unique_ptr<transport::Channel> channel);
  /// Takes what has come. True: something had.
  bool turn();
  /// Writes what goes. True: nothing waits.
  bool flush();
  /// All workers have said goodbye, or were lost.
  bool is_done() const { return server_.is_done(); }

 private:
  struct Peer {
    WorkerRank worker;
    std::unique_ptr<transport::Channel> channel;
    Outgoing outgoing;
    Status failure;           // of sending; seen when its turn comes
    bool is_refused = false;  // told why; nothing more is taken from it
  };
  void send(WorkerRank to, const transport::Message& message) override;
  bool serve(Peer& peer);
  void refuse(Peer& peer, const Status& why);
  void part(Peer& peer, const Status& why);

  transport::Poller& poller_;
  ArenaMemory memory_;
  std::unique_ptr<Disk> disk_;
  Server server_;
  std::vector<std::unique_ptr<Peer>>
      peers_;  // by worker; null: not there. After the server, whose versions their frames pin
};

}  // namespace cohaul::ps
