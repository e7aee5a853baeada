#include "cohaul/sim/joining.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cohaul/base/random.h"
#include "cohaul/job/job.h"
#include "cohaul/sim/launcher.h"
#include "cohaul/sim/process.h"
#include "cohaul/transport/sim_network.h"

namespace cohaul::sim {
namespace {

using job::ControlKind;
using transport::Role;

constexpr Duration kDelay = kMillisecond;  // delay of each message; all events happen at multiples of it
constexpr Time kEnd = 60 * kSecond;
constexpr int kIdleMax = 100;

job::ControlMessage message(ControlKind kind, std::string key, std::string value = {}) {
  job::ControlMessage out;
  out.kind = kind;
  out.key = std::move(key);
  out.value = std::move(value);
  out.timeout_ms = kEnd / kMillisecond;
  return out;
}

/// Returns the requests of a process between joining and its goodbye, in their order. Servers, or workers if there are no servers, publish their
/// addresses; workers ask for the addresses of their peers, and meet before and after training.
std::deque<job::ControlMessage> requests_of(job::MemberKey who, const Crowd& crowd) {
  std::deque<job::ControlMessage> out;
  const bool listens = who.role == Role::server || crowd.servers == 0;
  if (listens)
    out.push_back(message(ControlKind::set, "address/" + std::to_string(who.rank), "[::1] 45678 /run/socket"));
  if (who.role == Role::server) {
    out.push_back(message(ControlKind::get, job::kWorkersLeftKey));
    return out;
  }
  out.push_back(message(ControlKind::gather, "address/"));
  out.back().number = static_cast<std::uint64_t>(crowd.servers > 0 ? crowd.servers : who.rank);
  const job::Meeting first{"trainer 0", 0, "fit()", 0, "train.steps=1000\ntrain.slices=1024\n"},
      last{"trainer 0", 1, "close()", 1000, ""};
  for (const job::Meeting& m : {first, last}) out.push_back(message(ControlKind::meet, "", job::encode_meeting(m)));
  return out;
}

class Joiner final : public Process {
 public:
  Joiner(job::MemberKey who, Heart heart, const Scenario& scenario, const Crowd& crowd, Duration pause)
      : Process(who, std::move(heart), scenario),
        crowd_(crowd),
        pause_(pause),
        requests_(requests_of(who, crowd)),
        pauses_left_(who.role == Role::worker ? 2 : 0) {}

  std::string waits_for() const override { return requests_.empty() ? "its goodbye" : requests_.front().key; }
  Time joined() const { return joined_; }

 private:
  void work(Time now) override {
    if (joined_ == 0) joined_ = now;
    while (!is_finished_) {
      if (now < pauses_until_) return;
      if (request_ == 0 && !next(now)) continue;
      const auto answer = session().take_answer(request_, now);
      if (!answer) return;
      if (!answer->ok()) return fail(answer->status());
      request_ = 0;
      requests_.pop_front();
    }
  }
  /// Sends the next request. A worker pauses before and after its last request, as if training. Returns false if it must still wait.
  bool next(Time now) {
    if (requests_.size() < 2 && requests_.size() < pauses_left_) {
      --pauses_left_;
      pauses_until_ = now + pause_;
      return false;
    }
    is_finished_ = requests_.empty();
    if (!is_finished_) request_ = session().call(requests_.front(), now);
    return !is_finished_;
  }
  job::Member as_member() const override {
    job::Member out = Process::as_member();
    out.host = "node" + std::to_string(index() / crowd_.on_a_host) + ".cluster.example";
    out.host_id = "2c5b1d9e-4a52-4f0f-8a4e-" + std::to_string(100'000'000'000 + index() / crowd_.on_a_host);
    out.log = "/data/experiments/softmax/run-17/logs/" + job::describe(who());
    return out;
  }
  bool knows(const std::vector<job::Member>& members) const override {
    const int first = index() / crowd_.on_a_host * crowd_.on_a_host, all = scenario_.workers + scenario_.servers;
    const bool is_first = who() == job::MemberKey{Role::worker, 0};
    return is_first ? Process::knows(members)
                    : static_cast<int>(members.size()) == std::min(crowd_.on_a_host, all - first);
  }
  int index() const { return who().rank + (who().role == Role::server ? scenario_.workers : 0); }
  Time next_work() const override { return request_ != 0 ? session().deadline_of(request_) : pauses_until_; }
  bool is_finished() const override { return is_finished_; }
  std::vector<std::unique_ptr<transport::Channel>*> links() override { return {}; }

  const Crowd& crowd_;
  const Duration pause_;
  std::deque<job::ControlMessage> requests_;  // the front one has been sent, or is the next
  std::int64_t request_ = 0;
  std::size_t pauses_left_;
  Time joined_ = 0, pauses_until_ = 0;
  bool is_finished_ = false;
};

class Joining {
 public:
  explicit Joining(const Crowd& crowd)
      : crowd_(crowd),
        scenario_(scenario_of(crowd)),
        network_({.seed = 1, .delay_min = kDelay, .delay_max = kDelay}),
        launcher_(scenario_, [](auto&&...) {}) {
    Random random(1);
    for (int i = 0; i < crowd.workers + crowd.servers; ++i) {
      const bool is_worker = i < crowd.workers;
      const job::MemberKey who{is_worker ? Role::worker : Role::server, is_worker ? i : i - crowd.workers};
      const Duration pause = random_moment(crowd.pauses_within, random);
      processes_.push_back(std::make_unique<Joiner>(who, heart_of(who), scenario_, crowd_, pause));
      processes_.back()->stop(random_moment(crowd.starts_within, random));
    }
  }

  Result<JoinReport> run() {
    int idle = 0;  // rounds in a row in which time did not advance
    while (now() < kEnd && !is_over()) {
      const Time before = now();
      for (auto& p : processes_) {
        p->turn(now());
        if (!p->failure().ok()) return p->failure().context(job::describe(p->who()));
      }
      launcher_.turn(now());
      Time next = launcher_.next_time();
      for (const auto& p : processes_) next = std::min(next, p->next_time());
      if (!network_.step(next)) network_.advance_to(std::min(next, kEnd));
      idle = now() > before ? 0 : idle + 1;
      if (idle > kIdleMax) return internal("somebody spins instead of waiting");
    }
    if (!is_over()) return internal("the job does not end");
    JoinReport report;
    report.rendezvous = launcher_.traffic();
    report.end = now();
    for (const auto& p : processes_) {
      Traffic::Count& most = p->who().role == Role::worker ? report.worker : report.server;
      const Traffic::Count all = p->heart().traffic().all();
      most = {std::max(most.messages, all.messages), std::max(most.bytes, all.bytes)};
      report.joined = std::max(report.joined, p->joined());
    }
    return report;
  }

 private:
  static Scenario scenario_of(const Crowd& crowd) {
    Scenario s;
    s.workers = crowd.workers;
    s.servers = crowd.servers;
    s.peer_timeout = 10 * kSecond;
    return s;
  }
  static Duration random_moment(Duration within, Random& random) {
    return kDelay * static_cast<Duration>(1 + random.below(static_cast<std::uint64_t>(within / kDelay)));
  }
  Heart heart_of(job::MemberKey who) {
    transport::Identity member, launcher;
    member.role = who.role;
    member.rank = who.rank;
    launcher.role = Role::launcher;
    auto [ours, launchers] = network_.connect(member, launcher);
    launcher_.connected(std::move(launchers));
    return {std::move(ours), scenario_.peer_timeout};
  }
  Time now() const { return network_.clock().now(); }
  bool is_over() const {
    return launcher_.membership().finished() &&
           std::ranges::all_of(processes_, [](const auto& p) { return p->state() == Process::State::done; });
  }

  const Crowd crowd_;
  const Scenario scenario_;
  transport::SimNetwork network_;
  Launcher launcher_;
  std::vector<std::unique_ptr<Joiner>> processes_;
};

}  // namespace

Result<JoinReport> simulate_joining(const Crowd& crowd) { return Joining(crowd).run(); }

}  // namespace cohaul::sim
