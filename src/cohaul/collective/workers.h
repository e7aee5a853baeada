#pragma once
// The connections of a worker to all other workers of the job. All-reduce and split layers use them.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/base/watch.h"
#include "cohaul/collective/group.h"
#include "cohaul/job/job.h"

namespace cohaul::transport {
class Poller;
}

namespace cohaul::collective {

class Links;

class Workers {
 public:
  /// Connects this worker to all others, and blocks until all are connected, at most the job's join timeout. purpose and model must be the same at
  /// all workers. While it blocks, `watch` is asked for losses of members and told of waits. `job` and `watch` must outlive the result.
  static Result<std::unique_ptr<Workers>> connect(job::Job& job, const std::string& purpose, std::uint64_t model,
                                                  Watch& watch);
  static Result<std::unique_ptr<Workers>> connect(job::Job& job, const std::string& purpose, std::uint64_t model) {
    return connect(job, purpose, model, job);
  }
  ~Workers();

  Links& links() { return *links_; }
  Group& group() { return *group_; }

 private:
  explicit Workers(job::Job& job);
  job::Job& job_;
  std::unique_ptr<transport::Poller> poller_;
  std::unique_ptr<Links> links_;
  std::unique_ptr<Group> group_;
};

/// Connects all workers of the job to each other, for collectives of the program's own: Workers::group(), which layers that exchange data take
/// (SyncBatchNorm), too. All workers call it with the same `purpose`, which no other call has. Blocks until all are connected, at most
/// job.join_timeout_s. Throws Error. `job` must outlive the result.
std::unique_ptr<Workers> connect_workers(job::Job& job, const std::string& purpose);

/// Returns a number for the host of each worker. Workers whose channels share memory have the same one; where all channels are TCP, each has its own.
std::vector<int> hosts_of(const job::Job& job);

}  // namespace cohaul::collective
