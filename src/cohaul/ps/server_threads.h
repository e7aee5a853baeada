#pragma once
// Servers that run inside a worker, each on a thread of its own. The threads outlive the exchange that started them: they end and free their memory
// when all workers have said goodbye.

#include <memory>

#include "cohaul/base/clock.h"
#include "cohaul/base/ids.h"
#include "cohaul/base/status.h"
#include "cohaul/job/job.h"

namespace cohaul::ps {

/// Owns the threads. One thread uses it.
class ServerThreads {
 public:
  ServerThreads();
  /// Stops the threads that still run, and waits for them.
  ~ServerThreads();
  ServerThreads(const ServerThreads&) = delete;

  /// Starts a server on a thread. `job` must outlive this object.
  Status start(job::Job& job, ServerRank rank, int trainer);
  /// Blocks until all threads have ended by themselves. Returns the first error; peer_lost at the deadline.
  Status wait_for_all(Time deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the threads
};

}  // namespace cohaul::ps
