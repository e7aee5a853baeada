#pragma once
// The base of all jobs, and the job of a single process.

#include <atomic>
#include <map>

#include "cohaul/base/mutex.h"
#include "cohaul/job/control.h"
#include "cohaul/job/job.h"
#include "cohaul/transport/memory_desk.h"

namespace cohaul::job {

class JobBase : public Job {
 public:
  JobBase(const JoinOptions& options, const transport::Identity& self, Welcome welcome);
  ~JobBase() override { drop_lent(); }

  transport::Role role() const override { return options_.role; }
  int rank() const override { return options_.rank; }
  int world() const override { return options_.world; }
  int servers() const override { return options_.servers; }
  const JoinOptions& options() const override { return options_; }
  const std::vector<Member>& members() const override { return members_; }
  std::vector<int> hosts() const override { return hosts_; }
  int threads() const override { return threads_; }
  int workers_on_host() const override { return workers_on_host_; }
  int index_on_host() const override { return index_on_host_; }
  int processes_on_host() const override { return processes_on_host_; }
  bool set_waiting(bool waiting) override;
  Duration waited() const override { return waited_; }
  transport::Identity identity(const std::string& purpose, std::uint64_t model) const override;
  Result<transport::Arena> share_on_host(const std::string& name, std::size_t bytes, transport::Access access,
                                         const std::function<Status(transport::Arena&)>& fill, Time deadline) override;
  void shared_with_all(const transport::Arena& arena) override;

 protected:
  /// Closes this process's descriptors of the arenas that it has lent.
  void drop_lent();

 private:
  static Result<transport::Descriptor> copy_of(const transport::Arena& arena, transport::Access access);
  Status lend(const std::string& key, const transport::Arena& arena, transport::Access access);

  JoinOptions options_;
  transport::Identity self_;
  std::vector<Member> members_;
  std::vector<int> hosts_;
  int threads_;
  std::string host_id_;
  int workers_on_host_ = 0, index_on_host_ = 0, processes_on_host_ = 0;
  std::atomic<Time> waits_since_{kForever};  // kForever: it does not wait
  std::atomic<Duration> waited_{0};
  Mutex lent_mutex_;
  std::unique_ptr<transport::MemoryDesk> desk_
      COHAUL_GUARDED_BY(lent_mutex_);  // where others get what was lent; null: nothing was
  std::map<transport::ArenaId, std::uint64_t> tickets_ COHAUL_GUARDED_BY(lent_mutex_);
};

/// Makes the job of one process, without threads and sockets.
std::unique_ptr<Job> make_local_job(const JoinOptions& options);

}  // namespace cohaul::job
