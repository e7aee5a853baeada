#pragma once
// All workers of a job, connected to each other: what all-reduce and split layers stand on.

#include <memory>
#include <string>
#include <vector>

#include "cohaul/collective/direct_group.h"
#include "cohaul/collective/links.h"
#include "cohaul/job/job.h"

namespace cohaul::strategy {

class Workers {
 public:
  /// Blocks until all are connected, or the job's join timeout. `job` outlives it, as does `watch`, whom waits ask and tell.
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

/// By worker: a number for its host, the same for those whose channels share memory. Each has one of its own where all talk over TCP.
std::vector<int> hosts_of(const job::Job& job);

}  // namespace cohaul::strategy
