#include "cohaul/job/launcher.h"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

#include "cohaul/base/digits.h"
#include "cohaul/job/engines/place.h"
#include "cohaul/job/hosts/remote_crew.h"
#include "cohaul/job/job_id.h"
#include "cohaul/job/local_crew.h"
#include "cohaul/job/process.h"
#include "cohaul/job/signals.h"
#include "cohaul/job/variables.h"

namespace cohaul::job {
namespace {

using transport::Role;

constexpr Duration kTermGrace = 2 * kSecond;  // from SIGTERM to SIGKILL
// Signals that come this close together count as one: timeout(1) sends its signal to the process and to its group.
constexpr Duration kSameSignal = 500 * kMillisecond;
constexpr Duration kLinger = 5 * kSecond;        // from the last goodbye to the end of a process
constexpr Duration kServerLinger = 2 * kSecond;  // from the last worker's end to a server's
constexpr int kLogLines = 8;

struct Process {
  MemberKey who;
  std::optional<ProcessExit> exit{};
};

/// Returns the plan of the whole job, on this host.
CrewPlan plan_of(const LaunchOptions& options) {
  CrewPlan plan{.members = {}, .workers = options.workers, .servers = options.servers};
  for (int i = 0; i < options.servers; ++i) plan.members.push_back({Role::server, i});
  for (int i = 0; i < options.workers; ++i) plan.members.push_back({Role::worker, i});
  plan.worker_command = options.worker_command;
  plan.server_command = options.server_command;
  plan.environment = settings_of(options);
  plan.pin = options.pin;
  plan.threads = options.threads;
  // Other hosts cannot reach loopback.
  plan.address = options.hosts.size() > 1 && options.address == kThisHost ? "*" : options.address;
  plan.port = options.port;
  plan.ports = options.ports;
  plan.token = random_bits() | 1;
  plan.peer_timeout_s = options.peer_timeout_s;
  plan.join_timeout_s = options.join_timeout_s;
  plan.must_join = options.must_join;
  plan.logs = options.logs;
  plan.texts = options.texts;
  for (const HomeFile& f : options.files) plan.outputs.push_back(f.name);
  return plan;
}

class Launch {
 public:
  explicit Launch(const LaunchOptions& options) : options_(options) {}
  Launch(const Launch&) = delete;

  Result<LaunchOutcome> run() {
    COHAUL_TRY(check());
    CrewPlan plan = plan_of(options_);
    for (const MemberKey who : plan.members) processes_.push_back({who});
    crew_ = make_crew(std::move(plan));
    const auto came = [this] {
      if (const int signal = signals_.drain()) signal_ = signal;
      return signal_ != 0;
    };
    if (const Status started = crew_->start({signals_.fd(), came}); !started.ok()) {
      if (signal_ == 0) return started;
      return LaunchOutcome{.exit_code = 128 + signal_, .message = interruption(signal_)};
    }
    while (std::any_of(processes_.begin(), processes_.end(), [](const Process& p) { return !p.exit; })) {
      wait();
      if (int signal = signals_.drain()) interrupted(signal);
      if (signals_.take_checkpoint()) ask_for_checkpoint();
      take_events();
      act(steady_clock().now());
    }
    settle();
    LaunchOutcome out = outcome();
    if (out.exit_code == 0) crew_->remove_logs();
    return out;
  }

 private:
  Status check() {
    if (options_.workers < 1)
      return invalid("job.workers is " + std::to_string(options_.workers) + ": at least 1 is needed");
    if (options_.servers < 0)
      return invalid("the number of servers is " + std::to_string(options_.servers) + ": at least 0");
    if (options_.worker_command.empty()) return invalid("no program to launch");
    if (options_.servers > 0 && options_.server_command.empty()) return invalid("no program to launch as a server");
    if (signals_.fd() < 0) return system_error("open the launcher's descriptors", errno);
    return {};
  }

  std::unique_ptr<Crew> make_crew(CrewPlan plan) const {
    const auto started = [this](MemberKey who, std::int64_t pid, const std::string& host, const std::string& log) {
      if (options_.on_started) options_.on_started({who.role, who.rank, pid, host, log});
    };
    if (options_.hosts.empty())
      return std::make_unique<LocalCrew>(
          std::move(plan), options_.first_stdout, options_.first_stderr,
          [started](MemberKey who, std::int64_t pid, const std::string& log) { started(who, pid, host_name(), log); });
    return make_remote_crew(std::move(plan), {.hosts = options_.hosts,
                                              .ssh = options_.ssh,
                                              .cohaul = options_.cohaul,
                                              .check = options_.check,
                                              .files = options_.files,
                                              .first_stdout = options_.first_stdout,
                                              .first_stderr = options_.first_stderr,
                                              .on_started = started});
  }

  void wait() const {
    std::vector<pollfd> watched{{signals_.fd(), POLLIN, 0}};
    crew_->watch(watched);
    // Short while something is to be ended or watched for being stopped; long otherwise: signals and events wake it.
    ::poll(watched.data(), watched.size(), stop_at_ != 0 || ask_until_ != 0 || finished_at_ != 0 ? 50 : 1000);
  }

  void take_events() {
    for (const CrewEvent& e : crew_->take_events()) {
      if (e.kind == CrewEvent::Kind::exited) {
        for (Process& p : processes_)
          if (p.who == e.who) p.exit = e.exit;
      }
      if (e.kind == CrewEvent::Kind::decided) decided(e.decision);
      if (e.kind == CrewEvent::Kind::asked) asked(e);
      if (e.kind == CrewEvent::Kind::lost) lose(e.loss);
    }
  }

  void interrupted(int signal) {
    const Time now = steady_clock().now();
    if (signal_ != 0 && now - interrupted_at_ < kSameSignal) return;
    interrupted_at_ = now;
    if (signal_ != 0) kill_at_ = now;  // a second signal ends all at once
    if (std::exchange(signal_, signal_ == 0 ? signal : signal_) != 0 || !can_ask()) return stop();
    ask_until_ = now + seconds(options_.stop_grace_s);
    crew_->ask(signal);
  }

  /// Returns whether worker 0 can be asked. It tells the others with the end of its step.
  bool can_ask() const { return stop_at_ == 0 && !processes_with({Role::worker, 0}).exit; }

  void ask_for_checkpoint() {
    if (can_ask()) crew_->ask(SIGUSR1);
    else warn_once();
  }

  void asked(const CrewEvent& e) {
    if (e.taken) return;
    if (e.signal == SIGUSR1) return warn_once();
    ask_until_ = 0;  // it would be killed, or cannot be asked any more
    stop();
  }

  void warn_once() {
    if (!std::exchange(warned_, true) && options_.warn)
      options_.warn("SIGUSR1: no checkpoint is written, since worker 0 is in no loop of training");
  }

  void decided(const Decision& d) {
    if (d.kind == Decision::Kind::finished) {
      finished_at_ = steady_clock().now();
      committed_ = d.committed;
      stopped_ = d.stopped;
    }
    if (d.kind == Decision::Kind::lost) lose(d.loss);
  }

  void lose(const Loss& loss) {
    if (stop_at_ != 0) return;
    loss_ = loss;
    stop();
  }

  void stop() {
    if (stop_at_ != 0) return;
    stop_at_ = steady_clock().now();
    kill_at_ = stop_at_ + kTermGrace;
    for (const Process& p : processes_) {
      // A process that reported its own failure is ending by itself, with the exit code that says why.
      if (!(loss_ && loss_->reported && loss_->who == p.who)) crew_->terminate(p.who);
    }
  }

  void act(Time now) {
    if (ask_until_ != 0 && now >= ask_until_) stop();
    if (stop_at_ != 0 && now >= kill_at_) {
      for (const Process& p : processes_) crew_->kill(p.who);
    }
    if (stop_at_ != 0 || finished_at_ == 0) return;
    bool workers_live = false;
    for (const Process& p : processes_) {
      if (p.exit || p.who.role != Role::worker) continue;
      // The run is done. Only a process that is stopped, or one of Cohaul's that does not end, is not waited for.
      crew_->kill_if_stopped(p.who);
      if (options_.must_join && now - finished_at_ >= kLinger) crew_->kill(p.who);
      workers_live = true;
    }
    if (workers_live) return;
    if (workers_gone_at_ == 0) workers_gone_at_ = now;
    if (now - workers_gone_at_ >= kServerLinger) stop();
  }

  /// Waits for the rendezvous' decision after all have ended: it may still wait for stronger evidence.
  void settle() {
    Time until = steady_clock().now() + kSecond;
    while (!loss_ && finished_at_ == 0 && (signal_ == 0 || ask_until_ != 0) && steady_clock().now() < until) {
      std::vector<pollfd> watched;
      crew_->watch(watched);
      ::poll(watched.data(), watched.size(), 50);
      take_events();
    }
  }

  /// Returns the text that says why the workers that were asked to stop were ended.
  std::string in_time() const { return digits_of(options_.stop_grace_s) + " s (job.stop_grace_s)"; }

  LaunchOutcome outcome() const {
    LaunchOutcome out;
    if (committed_) return out;
    if (const std::size_t space = stopped_.find(' '); space != std::string::npos) {
      std::from_chars(stopped_.data(), stopped_.data() + space, out.exit_code);
      out.message = stopped_.substr(space + 1);
      out.stopped = out.exit_code > 128;
      if (signal_ != 0) out.exit_code = 128 + signal_;
      if (out.stopped) return out;
      out = {};
    }
    if (signal_ != 0) {
      out.exit_code = 128 + signal_;
      out.message = interruption(signal_);
      if (ask_until_ != 0 && loss_) out.message += "; without a checkpoint: " + loss_->message();
      else if (ask_until_ != 0 && stop_at_ != 0)
        out.message += "; without a checkpoint: there was none within " + in_time();
      return out;
    }
    if (loss_) {
      out.exit_code = loss_->exit_code;
      const std::optional<ProcessExit> exit = processes_with(loss_->who).exit;
      if (loss_->reported && exit && !exit->by_signal && exit->code != 0) out.exit_code = job_exit_code(*exit);
      return describe_failure(std::move(out), loss_->who, loss_->message(), loss_->operation);
    }
    // All have said goodbye: of what comes after, only a worker's own exit code counts.
    for (const Process& p : processes_) {
      if (p.who.role != Role::worker || p.exit->by_signal || p.exit->code == 0) continue;
      out.exit_code = job_exit_code(*p.exit);
      return describe_failure(std::move(out), p.who, describe(p.who) + ": " + p.exit->text(), "");
    }
    return out;
  }

  LaunchOutcome describe_failure(LaunchOutcome out, MemberKey who, const std::string& what,
                                 const std::string& operation) const {
    out.role = who.role;
    out.rank = who.rank;
    out.operation = operation;
    out.message = what;
    out.log = crew_->log_of(who);
    if (!out.log.empty()) {
      out.message += "; log: " + out.log;
      // What the first worker wrote has gone to the user already.
      std::string lines = who == MemberKey{Role::worker, 0} ? "" : last_lines_indented(out.log, kLogLines);
      if (!lines.empty()) out.message += "\n" + lines;
    }
    return out;
  }

  Process processes_with(MemberKey who) const {
    const auto it = std::find_if(processes_.begin(), processes_.end(), [&](const Process& p) { return p.who == who; });
    return it == processes_.end() ? Process{who, ProcessExit{}} : *it;
  }

  const LaunchOptions& options_;
  Signals signals_;  // before the rendezvous' thread, which inherits the mask
  std::vector<Process> processes_;
  std::unique_ptr<Crew> crew_;

  int signal_ = 0;
  Time interrupted_at_ = 0;
  std::optional<Loss> loss_;
  bool committed_ = false, warned_ = false;
  std::string stopped_;  // what worker 0 has said of it
  Time ask_until_ = 0;   // worker 0 was asked to stop the job, and has so long
  Time stop_at_ = 0, kill_at_ = 0, finished_at_ = 0, workers_gone_at_ = 0;
};

}  // namespace

std::vector<std::pair<std::string, std::string>> settings_of(const LaunchOptions& options) {
  auto out = options.environment;
  out.emplace_back(variables::kTransport, name(options.transport));
  const auto add = [&](const char* variable, const std::string& value) {
    if (!value.empty()) out.emplace_back(variable, value);
  };
  add(variables::kSecretFile, options.secret_file);
  add(variables::kTlsCert, options.certificates.certificate);
  add(variables::kTlsKey, options.certificates.key);
  add(variables::kTlsCa, options.certificates.authority);
  if (options.plaintext) out.emplace_back(variables::kPlaintext, "1");
  if (options.port != 0) out.emplace_back(variables::kPort, std::to_string(options.port));
  if (options.ports.first != 0)
    out.emplace_back(variables::kPorts, std::to_string(options.ports.first) + "-" + std::to_string(options.ports.last));
  out.emplace_back(variables::kPeerTimeout, std::to_string(options.peer_timeout_s));
  out.emplace_back(variables::kStepTimeout, std::to_string(options.step_timeout_s));
  out.emplace_back(variables::kJoinTimeout, std::to_string(options.join_timeout_s));
  return out;
}

Result<LaunchOutcome> launch(const LaunchOptions& options) { return Launch(options).run(); }

}  // namespace cohaul::job
