#include "cohaul/job/local_job.h"

#include "cohaul/base/mutex.h"
#include "cohaul/job/control.h"
#include "cohaul/job/cores.h"
#include "cohaul/job/job_id.h"
#include "cohaul/transport/poller.h"

namespace cohaul::job {
namespace {

Welcome alone(const Member& member) {
  Welcome out{.members = {member}};
  out.hosts = hosts_of_workers(out.members);
  out.threads = default_threads(out.members);
  return out;
}

/// The store is a map. What waits in it are threads of this process.
class LocalJob final : public JobBase {
 public:
  LocalJob(const JoinOptions& options, const transport::Identity& self)
      : JobBase(options, self, alone(this_member(options, self.incarnation, "this host"))) {}
  ~LocalJob() override { forget_last_words(); }

  Status set(const std::string& key, const std::string& value) override {
    if (value.size() > kValueBytesMax || key.size() > kKeyBytesMax)
      return invalid("the store's value '" + key + "' is over 1 MB");
    const MutexLock lock(mutex_);
    auto [it, is_new] = values_.try_emplace(key, value);
    if (!is_new && it->second != value)
      return invalid("the store's value '" + key + "' is set already: values are written once");
    changed_.notify_all();
    return {};
  }

  Result<std::string> get(const std::string& key, Time deadline) override {
    MutexLock lock(mutex_);
    while (!values_.contains(key))
      if (!changed_.wait_until(lock, deadline)) return peer_lost("nobody has set '" + key + "' in time");
    return values_.at(key);
  }

  Status barrier(const std::string& name, int count, Time deadline) override {
    MutexLock lock(mutex_);
    Barrier& barrier = barriers_[name];
    std::uint64_t round = barrier.rounds;
    if (++barrier.waiting >= count) {
      barrier.waiting = 0;
      ++barrier.rounds;
      changed_.notify_all();
      return {};
    }
    while (barrier.rounds == round) {
      if (changed_.wait_until(lock, deadline)) continue;
      int came = barrier.waiting--;
      return peer_lost("barrier '" + name + "': " + std::to_string(came) + " of " + std::to_string(count) +
                       " have come in time");
    }
    return {};
  }

  Status meet(const Meeting& meeting, Time) override { return check(meeting); }
  void attend(const Meeting&) override {}
  Status absent(const std::string&, std::int64_t, std::int64_t) const override { return {}; }
  Status health() const override { return {}; }
  Status overdue(Duration) override { return {}; }
  void wake_on_loss(transport::Poller*) override {}
  void forget(transport::Poller*) override {}
  void report_failure(const Status&) override {}
  Status close() override { return say_last_words(); }

 private:
  struct Barrier {
    int waiting = 0;
    std::uint64_t rounds = 0;
  };

  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, std::string> values_ COHAUL_GUARDED_BY(mutex_);
  std::map<std::string, Barrier> barriers_ COHAUL_GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<Job> make_local_job(const JoinOptions& options) {
  return std::make_unique<LocalJob>(options, control_identity(options));
}

}  // namespace cohaul::job
