#pragma once
// Servers that run inside a worker, each on a thread of its own.

#include <memory>
#include <thread>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/ps/service.h"

namespace cohaul::ps {

class ServerThreads {
 public:
  ServerThreads() = default;
  /// Stops what still runs.
  ~ServerThreads();
  ServerThreads(const ServerThreads&) = delete;

  Status start(job::Job& job, ServerRank rank, int trainer);
  /// Blocks until all have ended by themselves; the first error.
  Status join();

 private:
  struct One {
    std::unique_ptr<Service> service;
    Status end;
    std::thread thread;
  };
  std::vector<std::unique_ptr<One>> threads_;
};

}  // namespace cohaul::ps
