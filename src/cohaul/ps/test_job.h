#pragma once
// For tests: a Job whose members are threads of one process.

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "cohaul/base/ids.h"
#include "cohaul/base/mutex.h"
#include "cohaul/job/job.h"
#include "cohaul/job/meeting.h"
#include "cohaul/job/member.h"
#include "cohaul/transport/arena.h"
#include "cohaul/transport/channel.h"
#include "cohaul/transport/poller.h"

namespace cohaul::ps {

/// The state that the members share.
class TestMeeting {
 public:
  void lose(const Status& why);
  Status health() const;

 private:
  friend class TestJob;
  mutable Mutex mutex_;
  CondVar changed_;
  std::map<std::string, std::string> store_ COHAUL_GUARDED_BY(mutex_);
  Status lost_ COHAUL_GUARDED_BY(mutex_);
  std::set<transport::Poller*> pollers_ COHAUL_GUARDED_BY(mutex_);
};

class TestJob final : public job::Job {
 public:
  TestJob(TestMeeting& meeting, const job::JoinOptions& options) : meeting_(meeting), options_(options) {}
  ~TestJob() override { forget_last_words(); }

  transport::Role role() const override { return options_.role; }
  int rank() const override { return options_.rank; }
  int world() const override { return options_.world; }
  int servers() const override { return options_.servers; }
  const job::JoinOptions& options() const override { return options_; }
  const std::vector<job::Member>& members() const override { return members_; }
  int workers_on_host() const override { return options_.world; }
  int index_on_host() const override { return options_.rank; }
  int processes_on_host() const override { return 1 << 20; }
  Status set(const std::string& key, const std::string& value) override;
  Result<std::string> get(const std::string& key, Time deadline) override;
  Status barrier(const std::string&, int, Time) override { return unsupported("in tests"); }
  Status meet(const job::Meeting&, Time) override { return unsupported("in tests"); }
  void attend(const job::Meeting&) override {}
  void shared_with_all(const transport::Arena&) override {}
  Status absent(const std::string&, std::int64_t, std::int64_t) const override { return {}; }
  transport::Identity identity(const std::string& purpose, std::uint64_t model) const override;
  Result<transport::Arena> share_on_host(const std::string&, std::size_t, transport::Access,
                                         const std::function<Status(transport::Arena&)>&, Time) override {
    return unsupported("in tests");
  }
  Status health() const override { return meeting_.health(); }
  bool set_waiting(bool) override { return false; }
  Duration waited() const override { return 0; }
  Status overdue(Duration) override { return {}; }
  void wake_on_loss(transport::Poller* poller) override;
  void forget(transport::Poller* poller) override;
  void report_failure(const Status&) override {}
  Status close() override { return say_last_words(); }

 private:
  TestMeeting& meeting_;
  const job::JoinOptions options_;
  std::vector<job::Member> members_;
};

inline job::JoinOptions test_options(transport::Role role, int rank, int world, int servers = 0) {
  job::JoinOptions out;
  out.role = role;
  out.rank = rank;
  out.world = world;
  out.servers = servers;
  out.step_timeout_s = out.join_timeout_s = 20;
  return out;
}

inline void TestMeeting::lose(const Status& why) {
  const MutexLock lock(mutex_);
  lost_ = why;
  changed_.notify_all();
  for (transport::Poller* p : pollers_) p->wake();
}

inline Status TestMeeting::health() const {
  const MutexLock lock(mutex_);
  return lost_;
}

inline Status TestJob::set(const std::string& key, const std::string& value) {
  const MutexLock lock(meeting_.mutex_);
  meeting_.store_[key] = value;
  meeting_.changed_.notify_all();
  return {};
}

inline Result<std::string> TestJob::get(const std::string& key, Time deadline) {
  MutexLock lock(meeting_.mutex_);
  while (!meeting_.store_.contains(key)) {
    if (steady_clock().now() > deadline || !meeting_.lost_.ok()) return peer_lost("nobody has set " + key);
    meeting_.changed_.wait_until(lock, steady_clock().now() + 20 * kMillisecond);
  }
  return meeting_.store_[key];
}

inline transport::Identity TestJob::identity(const std::string& purpose, std::uint64_t model) const {
  transport::Identity out;
  out.job = 1;
  out.token = 7;
  out.role = options_.role;
  out.rank = options_.rank;
  out.incarnation = Incarnation(1 + options_.rank);
  out.purpose = purpose;
  out.model = model;
  return out;
}

inline void TestJob::wake_on_loss(transport::Poller* poller) {
  const MutexLock lock(meeting_.mutex_);
  meeting_.pollers_.insert(poller);
}

inline void TestJob::forget(transport::Poller* poller) {
  const MutexLock lock(meeting_.mutex_);
  meeting_.pollers_.erase(poller);
}

}  // namespace cohaul::ps
