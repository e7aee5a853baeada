#pragma once
// Servers that run inside a worker, each on a thread of its own, which outlive the exchange that started them: they serve until all
// workers have said goodbye, then free what they have.

#include <memory>

#include "cohaul/base/clock.h"
#include "cohaul/base/ids.h"
#include "cohaul/base/status.h"
#include "cohaul/job/job.h"

namespace cohaul::ps {

/// Keeps account of the threads. One thread uses it.
class ServerThreads {
 public:
  ServerThreads();
  /// Stops what still runs, and waits for it.
  ~ServerThreads();
  ServerThreads(const ServerThreads&) = delete;

  /// `job` outlives this.
  Status start(job::Job& job, ServerRank rank, int trainer);
  /// Blocks until all have ended by themselves; the first error. peer_lost at the deadline.
  Status join(Time deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;  // the threads' too
};

}  // namespace cohaul::ps
