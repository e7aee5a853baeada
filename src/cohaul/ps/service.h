#pragma once
// Service: a Server on sockets. The whole of a cohaul-server process, or one thread of a worker where nobody launched servers.

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/job/job.h"
#include "cohaul/ps/arena_memory.h"
#include "cohaul/ps/outgoing.h"
#include "cohaul/ps/server.h"
#include "cohaul/transport/endpoint.h"
#include "cohaul/transport/poller.h"

namespace cohaul::ps {

/// The name under which server `rank` publishes its address in the job's store.
std::string address_key(ServerRank rank, int trainer = 0);

class Service final : ToWorkers {
 public:
  /// Listens, and publishes where. Does not block. `job` outlives it. Errors: invalid, unavailable (job.address).
  static Result<std::unique_ptr<Service>> listen(job::Job& job, ServerRank rank, int trainer = 0);
  ~Service();

  /// Serves until all workers have said goodbye (ok), stop() (ok), or the job is broken (peer_lost: who was lost). Blocks;
  /// the thread that calls it owns everything inside. Once.
  Status run();
  /// Ends run(). Any thread.
  void stop();

 private:
  struct Peer {
    WorkerRank worker;
    std::unique_ptr<transport::Channel> channel;
    Outgoing outgoing;
    Status failure;           // of sending; seen when its turn comes
    bool is_refused = false;  // told why; nothing more is taken from it
  };
  Service(job::Job& job, ServerRank rank) : job_(job), rank_(rank), server_(rank, memory_, *this) {}

  void send(WorkerRank to, const transport::Message& message) override;
  void show_life(bool waiting);
  /// True: something happened.
  Result<bool> turn();
  Result<bool> accept();
  bool serve(Peer& peer);
  void refuse(Peer& peer, const Status& why);
  void part(Peer& peer, const Status& why);
  Result<bool> flush();

  job::Job& job_;
  const ServerRank rank_;
  std::unique_ptr<transport::Poller> poller_;
  std::unique_ptr<transport::Endpoint> endpoint_;
  ArenaMemory memory_;
  Server server_;
  std::vector<std::unique_ptr<Peer>> peers_;  // by worker; null: not there
  std::atomic<bool> stopped_{false};
};

}  // namespace cohaul::ps
