#include "cohaul/job/launcher.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <mutex>
#include <optional>

#include "cohaul/job/host_port.h"
#include "cohaul/job/job_id.h"
#include "cohaul/job/launch_log.h"
#include "cohaul/job/process.h"
#include "cohaul/job/rendezvous_host.h"
#include "cohaul/job/signals.h"
#include "cohaul/job/variables.h"

namespace cohaul::job {
namespace {

using transport::Role;

constexpr Duration kTermGrace = 2 * kSecond;  // from SIGTERM to SIGKILL
// Two signals so close are one: timeout(1) sends it to the process, and to its group.
constexpr Duration kSameSignal = 500 * kMillisecond;
constexpr Duration kLinger = 5 * kSecond;        // from the last goodbye to the end of a process
constexpr Duration kServerLinger = 2 * kSecond;  // from the last worker's end to a server's
constexpr int kLogLines = 8;

/// Decisions, from the rendezvous' thread to the launcher's.
class Mailbox {
 public:
  Mailbox() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Mailbox() { ::close(fd_); }
  Mailbox(const Mailbox&) = delete;
  int fd() const { return fd_; }
  void put(const Decision& d) {
    std::lock_guard lock(mutex_);
    decisions_.push_back(d);
    (void)!::eventfd_write(fd_, 1);
  }
  std::vector<Decision> take() {
    std::lock_guard lock(mutex_);
    eventfd_t ignored;
    (void)!::eventfd_read(fd_, &ignored);
    return std::exchange(decisions_, {});
  }

 private:
  std::mutex mutex_;
  int fd_;
  std::vector<Decision> decisions_;
};

struct Child {
  MemberKey who;
  pid_t pid = 0;
  std::string log;
  std::optional<ProcessExit> exit;
};

std::string_view name(transport::Form form) {
  return form == transport::Form::arena ? "arena" : form == transport::Form::tcp ? "tcp" : "auto";
}

class Launch {
 public:
  explicit Launch(const LaunchOptions& options) : options_(options) {}
  ~Launch() {
    for (Child& c : children_) end_now(c);
  }
  Launch(const Launch&) = delete;

  Result<LaunchOutcome> run() {
    COHAUL_TRY(check());
    COHAUL_TRY(logs_.open(options_.logs, options_.first_stdout, options_.first_stderr));
    Status started = start_all();
    if (!started.ok()) {
      for (Child& c : children_) end_now(c);
      logs_.remove_temporary();
      return started;
    }
    while (std::any_of(children_.begin(), children_.end(), [](const Child& c) { return !c.exit; })) {
      wait();
      logs_.pump();
      if (int signal = signals_.drain()) interrupted(signal);
      if (signals_.take_checkpoint()) ask_for_checkpoint();
      reap_all();
      for (const Decision& d : mailbox_.take()) decided(d);
      act(steady_clock().now());
    }
    settle();
    logs_.pump();
    LaunchOutcome out = outcome();
    if (out.exit_code == 0) logs_.remove_temporary();
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
    if (signals_.fd() < 0 || mailbox_.fd() < 0) return system_error("open the launcher's descriptors", errno);
    return {};
  }

  Status listen() {
    COHAUL_ASSIGN(HostPort at, parse_host_port(options_.address).context("job.address"));
    COHAUL_ASSIGN(listen_, own_addresses(at.host).context("job.address"));
    const transport::Listening where{
        .hosts = listen_, .port = options_.port != 0 ? options_.port : at.port, .ports = options_.ports};
    token_ = random_bits() | 1;
    Membership::Options membership;
    membership.workers = options_.workers;
    membership.servers = options_.servers;
    membership.peer_timeout = seconds(options_.peer_timeout_s);
    membership.join_timeout = seconds(options_.join_timeout_s);
    membership.must_join = options_.must_join;
    transport::Identity self;
    self.job = job_id(token_);
    self.token = token_;
    self.role = Role::launcher;
    self.incarnation = Incarnation(random_bits());
    self.purpose = "control";
    auto host = RendezvousHost::start(self, where, membership, [this](const Decision& d) { mailbox_.put(d); });
    if (!host.ok()) {
      return invalid("job.address: cannot listen on " + at.text() + ": " + host.status().message() +
                     "; choose another port, or none");
    }
    rendezvous_ = std::move(*host);
    return {};
  }

  std::vector<std::pair<std::string, std::string>> environment_of(MemberKey who, const std::string& log) const {
    auto out = settings_of(options_);
    const transport::Address& at = rendezvous_->address();
    auto add = [&](const char* key, std::string value) { out.emplace_back(key, std::move(value)); };
    add(variables::kAddress, HostPort{at.hosts.front(), at.port}.text());
    add(variables::kRole, who.role == Role::server ? "server" : "worker");
    add(variables::kRank, std::to_string(who.rank));
    add(variables::kWorkers, std::to_string(options_.workers));
    add(variables::kServers, std::to_string(options_.servers));
    add(variables::kToken, std::to_string(token_));
    add(variables::kListen, join_hosts(listen_));
    add(variables::kLog, log);
    return out;
  }

  Status start_all() {
    COHAUL_TRY(listen());
    for (int i = 0; i < options_.servers; ++i) COHAUL_TRY(start({Role::server, i}));
    for (int i = 0; i < options_.workers; ++i) COHAUL_TRY(start({Role::worker, i}));
    return {};
  }

  Status start(MemberKey who) {
    SpawnOptions spawning;
    Child child;
    child.who = who;
    spawning.command = who.role == Role::server ? options_.server_command : options_.worker_command;
    COHAUL_TRY(logs_.prepare(who, spawning.stdout_fd, spawning.stderr_fd, child.log));
    spawning.environment = environment_of(who, child.log);
    auto pid = spawn(spawning);
    logs_.started();
    if (!pid.ok()) return pid.status();
    child.pid = *pid;
    children_.push_back(child);
    if (options_.on_started) options_.on_started({who.role, who.rank, child.pid, host_name(), child.log});
    return {};
  }

  void wait() {
    pollfd fds[3] = {{signals_.fd(), POLLIN, 0}, {mailbox_.fd(), POLLIN, 0}, {logs_.pipe(), POLLIN, 0}};
    // Short while something is to be ended or watched for being stopped; long otherwise: signals and decisions wake it.
    ::poll(fds, 3, stop_at_ != 0 || ask_until_ != 0 || finished_at_ != 0 ? 50 : 1000);
  }

  void reap_all() {
    for (Child& c : children_) {
      if (c.exit) continue;
      c.exit = reap(c.pid);
      if (c.exit) rendezvous_->exited(c.who, *c.exit);
    }
  }

  void interrupted(int signal) {
    const Time now = steady_clock().now();
    if (signal_ != 0 && now - interrupted_at_ < kSameSignal) return;
    interrupted_at_ = now;
    if (signal_ != 0) kill_at_ = now;  // the second time he means it
    const bool first = std::exchange(signal_, signal_ == 0 ? signal : signal_) == 0;
    // Who was started in the background ignores SIGINT.
    if (first && (pass_on(signal) || pass_on(SIGTERM)))
      ask_until_ = steady_clock().now() + seconds(options_.stop_grace_s);
    else stop();
  }

  /// Worker 0 tells the others with the end of its step. false: it would be killed, or cannot be asked any more.
  bool pass_on(int signal) {
    const Child* first = child({Role::worker, 0});
    return stop_at_ == 0 && first != nullptr && !first->exit && catches(first->pid, signal) &&
           ::kill(first->pid, signal) == 0;
  }

  void ask_for_checkpoint() {
    if (pass_on(SIGUSR1) || std::exchange(warned_, true)) return;
    if (options_.warn) options_.warn("SIGUSR1: no checkpoint is written, since worker 0 is in no loop of training");
  }

  void decided(const Decision& d) {
    if (d.kind == Decision::Kind::finished) {
      finished_at_ = steady_clock().now();
      committed_ = d.committed;
      stopped_ = d.stopped;
    }
    if (d.kind != Decision::Kind::lost || stop_at_ != 0) return;
    loss_ = d.loss;
    stop();
  }

  void stop() {
    if (stop_at_ != 0) return;
    stop_at_ = steady_clock().now();
    kill_at_ = stop_at_ + kTermGrace;
    for (Child& c : children_) {
      // Who told of its own failure is ending by itself, with the exit code that says why.
      if (!c.exit && !(loss_ && loss_->reported && loss_->who == c.who)) terminate_group(c.pid);
    }
  }

  void act(Time now) {
    if (ask_until_ != 0 && now >= ask_until_) stop();
    if (stop_at_ != 0 && now >= kill_at_) {
      for (Child& c : children_) {
        if (!c.exit) kill_group(c.pid);
      }
    }
    if (stop_at_ != 0 || finished_at_ == 0) return;
    bool workers_live = false;
    for (Child& c : children_) {
      if (c.exit || c.who.role != Role::worker) continue;
      // The run is done; only a stopped process, or one of ours that will not end, is not waited for.
      if (is_stopped(c.pid) || (options_.must_join && now - finished_at_ >= kLinger)) kill_group(c.pid);
      workers_live = true;
    }
    if (workers_live) return;
    if (workers_gone_at_ == 0) workers_gone_at_ = now;
    if (now - workers_gone_at_ >= kServerLinger) stop();
  }

  /// All have ended; the rendezvous may still weigh the evidence.
  void settle() {
    Time until = steady_clock().now() + kSecond;
    while (!loss_ && finished_at_ == 0 && (signal_ == 0 || ask_until_ != 0) && steady_clock().now() < until) {
      pollfd fd{mailbox_.fd(), POLLIN, 0};
      ::poll(&fd, 1, 50);
      for (const Decision& d : mailbox_.take()) decided(d);
    }
  }

  /// Why the workers that were asked to stop were ended.
  std::string in_time() const {
    char text[64];
    std::snprintf(text, sizeof text, "%g s (job.stop_grace_s)", options_.stop_grace_s);
    return text;
  }

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
      const Child* c = child(loss_->who);
      if (loss_->reported && c != nullptr && !c->exit->by_signal && c->exit->code != 0)
        out.exit_code = job_exit_code(*c->exit);
      return describe_failure(std::move(out), loss_->who, loss_->message(), loss_->operation);
    }
    // All have said goodbye: of what comes after, only a worker's own exit code counts.
    for (const Child& c : children_) {
      if (c.who.role != Role::worker || c.exit->by_signal || c.exit->code == 0) continue;
      out.exit_code = job_exit_code(*c.exit);
      return describe_failure(std::move(out), c.who, describe(c.who) + ": " + c.exit->text(), "");
    }
    return out;
  }

  LaunchOutcome describe_failure(LaunchOutcome out, MemberKey who, const std::string& what,
                                 const std::string& operation) const {
    out.role = who.role;
    out.rank = who.rank;
    out.operation = operation;
    out.message = what;
    if (const Child* c = child(who)) {
      out.log = c->log;
      out.message += "; log: " + c->log;
      // What the first worker wrote has gone to the user already.
      std::string lines = who == MemberKey{Role::worker, 0} ? "" : last_lines(c->log, kLogLines);
      if (!lines.empty()) out.message += "\n" + lines;
    }
    return out;
  }

  const Child* child(MemberKey who) const {
    auto it = std::find_if(children_.begin(), children_.end(), [&](const Child& c) { return c.who == who; });
    return it == children_.end() ? nullptr : &*it;
  }

  static void end_now(Child& c) {
    if (c.exit) return;
    kill_group(c.pid);
    while (!(c.exit = reap(c.pid))) ::poll(nullptr, 0, 1);
  }

  const LaunchOptions& options_;
  Signals signals_;  // before the rendezvous' thread, which inherits the mask
  Mailbox mailbox_;
  LaunchLog logs_;
  std::vector<std::string> listen_;
  std::uint64_t token_ = 0;
  std::unique_ptr<RendezvousHost> rendezvous_;
  std::vector<Child> children_;

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
  if (!options.secret_file.empty()) out.emplace_back(variables::kSecretFile, options.secret_file);
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
