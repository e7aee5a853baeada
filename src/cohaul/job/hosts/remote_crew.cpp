#include "cohaul/job/hosts/remote_crew.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>

#include "cohaul/job/control.h"
#include "cohaul/job/hosts/agent_messages.h"
#include "cohaul/job/job_id.h"
#include "cohaul/job/process.h"
#include "cohaul/transport/authority.h"

namespace cohaul::job {
namespace {

constexpr Duration kAliveEvery = kSecond, kQuietLeast = 5 * kSecond;
constexpr Duration kReachLimit = 30 * kSecond;  // to reach a host and start the agent
constexpr Duration kCheckLimit = 90 * kSecond, kStepLimit = 30 * kSecond;
constexpr Duration kEndLimit = 2 * kSecond;  // of an agent that has nothing to do any more
constexpr MemberKey kFirst{transport::Role::worker, 0}, kRendezvous{transport::Role::launcher, 0};

/// Returns a word, quoted for the shell at the other end.
std::string quoted(const std::string& word) {
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

struct Host {
  std::string name;
  std::vector<MemberKey> members;
  std::set<MemberKey> running{};
  pid_t ssh = -1;
  std::string said_by_ssh{};  // path of what it has written to stderr
  std::unique_ptr<AgentLink> link{};
  Time heard = 0;
  std::string machine{};  // as it calls itself
};

class RemoteCrew final : public Crew {
 public:
  RemoteCrew(CrewPlan plan, RemoteOptions options)
      : plan_(std::move(plan)),
        options_(std::move(options)),
        home_(options_.files, options_.first_stdout, options_.first_stderr),
        quiet_(std::max(seconds(plan_.peer_timeout_s), kQuietLeast)) {
    const auto members = deal_members(options_.hosts, plan_.servers);
    for (std::size_t i = 0; i < options_.hosts.size(); ++i)
      hosts_.push_back(std::make_unique<Host>(Host{.name = options_.hosts[i].name, .members = members[i]}));
  }

  ~RemoteCrew() override {
    for (auto& h : hosts_) h->link.reset();  // tells the agents that it is over
    const Time until = steady_clock().now() + kEndLimit;
    for (auto& h : hosts_) {
      while (h->ssh > 0 && !reap(h->ssh)) {
        if (steady_clock().now() >= until) kill_group(h->ssh);
        ::poll(nullptr, 0, 2);
      }
    }
  }

  Status start(const Interrupt& interrupt) override {
    interrupt_ = interrupt;
    COHAUL_TRY(home_.open(plan_.logs, plan_.members));
    COHAUL_ASSIGN(temporary_, TemporaryFolder::make("cohaul-ssh"));
    Status started = start_all();
    if (!started.ok()) home_.remove_temporary();
    return started;
  }

  void watch(std::vector<pollfd>& descriptors) const override {
    for (const auto& h : hosts_)
      if (h->link) h->link->watch(descriptors);
  }

  std::vector<CrewEvent> take_events() override {
    const Time now = steady_clock().now();
    for (auto& h : hosts_) {
      if (!h->link) continue;
      take_messages(*h);
      if (h->link && now - h->heard > quiet_)
        lose(*h, peer_lost("it has been silent for " + seconds_text(now - h->heard)));
      if (h->link) h->link->flush();
    }
    show_life(now);
    return std::exchange(events_, {});
  }

  void terminate(MemberKey who) override { say(who, kTerminate); }
  void kill(MemberKey who) override { say(who, kKill); }
  void kill_if_stopped(MemberKey who) override { say(who, kKillIfStopped); }
  void ask(int signal) override {
    Host* const h = host_of(kFirst);
    if (h != nullptr && h->link) h->link->send({kAsk, {{"signal", std::to_string(signal)}}});
    else events_.push_back({.kind = CrewEvent::Kind::asked, .signal = signal, .taken = false});
  }
  std::string log_of(MemberKey who) const override { return home_.log_of(who); }
  void remove_logs() override { home_.remove_temporary(); }

 private:
  // ---- starting: all hosts at once, step by step

  Status start_all() {
    for (auto& h : hosts_) COHAUL_TRY(reach(*h));
    COHAUL_TRY(answers(kReady, kReachLimit, [&](Host& h, const AgentMessage& m) {
      h.machine = m.text("host");
      return Status();
    }));
    COHAUL_TRY(issue());
    for (auto& h : hosts_) h->link->send(message_of(plan_for(*h)));
    COHAUL_TRY(answers(kPrepared, kStepLimit, nothing_to_do));
    if (!options_.check.empty()) COHAUL_TRY(check_all());
    std::string address;
    hosts_.front()->link->send({kListen});
    COHAUL_TRY(answers(
        kListening, kStepLimit,
        [&](Host&, const AgentMessage& m) {
          address = m.text("address");
          return Status();
        },
        1));
    for (auto& h : hosts_) h->link->send({kStart, {{"address", address}}});
    return answers(kRunning, kStepLimit, nothing_to_do);
  }

  void show_life(Time now) {
    if (now - told_ < kAliveEvery) return;
    told_ = now;
    for (auto& h : hosts_)
      if (h->link) h->link->send({kAlive});
  }

  static Status nothing_to_do(Host&, const AgentMessage&) { return {}; }

  /// Starts ssh, and sends a greeting to the agent that is to answer.
  Status reach(Host& h) {
    int to[2], from[2];
    if (::pipe2(to, O_CLOEXEC) != 0) return system_error("pipe", errno);
    transport::Descriptor to_read(to[0]), to_write(to[1]);
    if (::pipe2(from, O_CLOEXEC) != 0) return system_error("pipe", errno);
    transport::Descriptor from_read(from[0]), from_write(from[1]);
    h.said_by_ssh = temporary_.file(text_of(h.members.front()));
    const transport::Descriptor error(::open(h.said_by_ssh.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!error.valid()) return system_error("make " + h.said_by_ssh, errno);
    SpawnOptions spawning{
        .command = options_.ssh, .stdout_fd = from_write.get(), .stderr_fd = error.get(), .stdin_fd = to_read.get()};
    spawning.command.insert(spawning.command.end(), {h.name, quoted(options_.cohaul) + " agent"});
    COHAUL_ASSIGN(h.ssh, spawn(spawning));
    h.link = std::make_unique<AgentLink>(std::move(from_read), std::move(to_write));
    h.heard = steady_clock().now();
    h.link->send({kGreet,
                  {{"version", std::string(library_version())},
                   {"folder", std::filesystem::current_path().string()},
                   {"quiet ms", std::to_string(quiet_ / kMillisecond)}}});
    return {};
  }

  /// Blocks until the first `count` hosts (all) have given this answer, and `take` has taken it.
  template <class Take>
  Status answers(const char* kind, Duration limit, const Take& take, std::size_t count = SIZE_MAX) {
    std::set<const Host*> missing;
    for (auto& h : hosts_)
      if (missing.size() < count) missing.insert(h.get());
    for (const Time deadline = steady_clock().now() + limit; !missing.empty();) {
      for (auto& h : hosts_) {
        for (;;) {
          COHAUL_ASSIGN(const std::optional<AgentMessage> m, next_of(*h));
          if (!m) break;
          if (m->kind == kind && missing.erase(h.get()) > 0) COHAUL_TRY(take(*h, *m).context("host " + h->name));
          else take_message(*h, *m);
        }
      }
      if (!missing.empty()) COHAUL_TRY(wait_for_answers(deadline, (*missing.begin())->name, kind));
    }
    return {};
  }

  /// Returns the next message of a host that is being started. Errors: why it cannot be started.
  Result<std::optional<AgentMessage>> next_of(Host& h) {
    auto message = h.link->receive();
    if (!message.ok()) return not_reached(h, message.status());
    if (!*message) return message;
    h.heard = steady_clock().now();
    if ((*message)->kind == kFailed) return status_of(**message).context("host " + h.name);
    return message;
  }

  Status wait_for_answers(Time deadline, const std::string& name, const std::string& kind) {
    const Time now = steady_clock().now();
    if (now >= deadline)
      return invalid("host " + name + ": no answer in time (" + kind + "); is it up, and does ssh " + name +
                     " work without a password?");
    show_life(now);
    std::vector<pollfd> watched{{interrupt_.fd, POLLIN, 0}};
    watch(watched);
    ::poll(watched.data(), watched.size(), 100);
    // This descriptor can also be read when a child has ended, such as an ssh that found no host.
    if ((watched.front().revents & POLLIN) != 0 && interrupt_.came())
      return unavailable("interrupted while the hosts were reached");
    for (auto& h : hosts_) h->link->flush();
    return {};
  }

  /// Returns why a host was not reached, with what ssh or the shell there has said.
  Status not_reached(Host& h, const Status& why) {
    for (const Time until = steady_clock().now() + kSecond; h.ssh > 0 && steady_clock().now() < until;) {
      if (reap(h.ssh)) h.ssh = -1;
      else ::poll(nullptr, 0, 5);
    }
    const std::string said = last_lines_indented(h.said_by_ssh, 4);
    return invalid("host " + h.name + ": the agent could not be started (" + std::string(why.cause()) +
                   "): " + options_.ssh.front() + " " + h.name + " " + options_.cohaul +
                   " must work without a password, and find the same program there" +
                   (said.empty() ? "" : "\n" + said));
  }

  /// Issues a certificate to each process.
  Status issue() {
    const std::string job = std::to_string(job_id(plan_.token));
    COHAUL_ASSIGN(const transport::Authority authority, transport::Authority::make(job));
    std::vector<MemberKey> all = plan_.members;
    all.push_back(kRendezvous);
    for (const MemberKey who : all) {
      COHAUL_ASSIGN(plan_.certificates[who], authority.issue(who.role, who.rank));
    }
    return {};
  }

  /// Returns the part of the plan that is for this host alone.
  CrewPlan plan_for(const Host& h) const {
    const bool is_first = &h == hosts_.front().get();
    CrewPlan out = plan_;
    out.members = h.members;
    out.logs.clear();
    for (const MemberKey who : h.members) out.shown_logs[who] = home_.log_of(who);
    std::erase_if(out.certificates, [&](const auto& entry) {
      if (entry.first == kRendezvous) return !is_first;
      return std::find(h.members.begin(), h.members.end(), entry.first) == h.members.end();
    });
    return out;
  }

  Status check_all() {
    AgentMessage check{kCheck};
    for (std::size_t i = 0; i < options_.check.size(); ++i)
      check.fields["command." + std::to_string(1000 + i)] = options_.check[i];
    for (auto& h : hosts_) h->link->send(check);
    return answers(kChecked, kCheckLimit, [](Host&, const AgentMessage& m) {
      if (m.number("exit") == kDone) return Status();
      std::string said = m.text("said");
      while (!said.empty() && said.back() == '\n') said.pop_back();
      if (said.starts_with("cohaul: ")) said.erase(0, 8);
      return Status(m.number("exit") == kUsersMistake ? Code::invalid : Code::internal,
                    said.empty() ? "the check ended with exit code " + m.text("exit") : said);
    });
  }

  // ---- running

  void take_messages(Host& h) {
    while (h.link) {
      auto message = h.link->receive();
      if (!message.ok()) return lose(h, message.status());
      if (!*message) return;
      h.heard = steady_clock().now();
      take_message(h, **message);
    }
  }

  void take_message(Host& h, const AgentMessage& m) {
    Status status;
    if (m.kind == kOutput) home_.pass_on(static_cast<int>(m.number("stream")), m.text("bytes"));
    else if (m.kind == kFile) status = home_.add_to_file(m.text("name"), m.text("bytes"));
    else if (m.kind == kLog) status = take_log(m);
    else if (m.kind == kStarted) status = take_start(h, m);
    else if (m.kind == kFailed) return lose(h, status_of(m));
    else if (m.kind != kAlive) status = take_event(h, m);
    if (!status.ok() && home_failed_.ok()) {
      home_failed_ = status;
      events_.push_back({.kind = CrewEvent::Kind::lost,
                         .loss = {.who = kRendezvous, .how = status.message(), .exit_code = exit_code(status.code())}});
    }
  }

  Status take_log(const AgentMessage& m) {
    COHAUL_ASSIGN(const MemberKey who, member_of_text(m.text("who")));
    return home_.add_to_log(who, m.text("bytes"));
  }

  Status take_start(Host& h, const AgentMessage& m) {
    COHAUL_ASSIGN(const MemberKey who, member_of_text(m.text("who")));
    h.running.insert(who);
    if (options_.on_started) options_.on_started(who, m.number("pid"), h.machine, home_.log_of(who));
    return {};
  }

  Status take_event(Host& h, const AgentMessage& m) {
    COHAUL_ASSIGN(CrewEvent event, event_of(m));
    if (event.kind == CrewEvent::Kind::exited) {
      h.running.erase(event.who);
      Host& first = *hosts_.front();
      if (&h != &first && first.link) first.link->send(m);
      if (event.who == kFirst && !event.exit.by_signal && event.exit.code == kDone) COHAUL_TRY(home_.finish());
    }
    events_.push_back(std::move(event));
    return {};
  }

  /// Gives a host up. Its processes end with their agent; whether they have cannot be seen from here.
  void lose(Host& h, const Status& why) {
    h.link.reset();
    const std::string said = last_lines_indented(h.said_by_ssh, 2);
    const MemberKey who = h.running.empty() ? h.members.front() : *h.running.begin();
    if (!h.running.empty())
      events_.push_back({.kind = CrewEvent::Kind::lost,
                         .loss = {.who = who,
                                  .how = "host " + h.name + " is lost: " + std::string(why.message()) +
                                         (said.empty() ? "" : "\n" + said)}});
    constexpr int kKilled = 9;
    for (const MemberKey gone : std::exchange(h.running, {})) {
      const CrewEvent exited{.kind = CrewEvent::Kind::exited, .who = gone, .exit = {true, kKilled}};
      events_.push_back(exited);
      if (Host& first = *hosts_.front(); &h != &first && first.link) first.link->send(message_of(exited));
    }
  }

  Host* host_of(MemberKey who) {
    for (auto& h : hosts_)
      if (std::find(h->members.begin(), h->members.end(), who) != h->members.end()) return h.get();
    return nullptr;
  }

  void say(MemberKey who, const char* what) {
    Host* const h = host_of(who);
    if (h != nullptr && h->link && h->running.contains(who)) h->link->send({what, {{"who", text_of(who)}}});
  }

  CrewPlan plan_;
  const RemoteOptions options_;
  TemporaryFolder temporary_;
  Home home_;
  const Duration quiet_;
  Interrupt interrupt_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::vector<CrewEvent> events_;
  Status home_failed_;  // what came could not be written or read; told once
  Time told_ = 0;
};

}  // namespace

std::unique_ptr<Crew> make_remote_crew(CrewPlan plan, RemoteOptions options) {
  return std::make_unique<RemoteCrew>(std::move(plan), std::move(options));
}

}  // namespace cohaul::job
