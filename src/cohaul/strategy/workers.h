#pragma once
// The connections of a worker to all other workers of the job. All-reduce and split layers use them.

#include <memory>
#include <string>
#include <vector>

#include "cohaul/collective/direct_group.h"
#include "cohaul/collective/links.h"
#include "cohaul/job/job.h"

namespace cohaul::strategy {

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

  collective::Links& links() { return *links_; }
  collective::Group& group() { return *group_; }

 private:
  explicit Workers(job::Job& job) : job_(job) {}
  job::Job& job_;
  std::unique_ptr<transport::Poller> poller_;
  std::unique_ptr<collective::Links> links_;
  std::unique_ptr<collective::Group> group_;
};

/// Returns a number for the host of each worker. Workers whose channels share memory have the same one; where all channels are TCP, each has its own.
std::vector<int> hosts_of(const job::Job& job);

}  // namespace cohaul::strategy
