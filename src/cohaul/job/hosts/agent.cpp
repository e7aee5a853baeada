#include "cohaul/job/hosts/agent.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>

#include "cohaul/base/failing_writes.h"
#include "cohaul/base/limits.h"
#include "cohaul/base/temporary_folder.h"
#include "cohaul/job/control.h"
#include "cohaul/job/hosts/agent_messages.h"
#include "cohaul/job/hosts/tail.h"
#include "cohaul/job/job_id.h"
#include "cohaul/job/local_crew.h"
#include "cohaul/job/process.h"

namespace cohaul::job {
namespace {

namespace fs = std::filesystem;

constexpr Duration kAliveEvery = kSecond, kCheckLimit = 60 * kSecond;
constexpr Duration kGreetLimit = 60 * kSecond;  // until the launcher has said how long it may be silent
constexpr int kLookEvery_ms = 50;               // at files that grow
constexpr std::size_t kChunkBytes = 256 << 10;

/// A program that only checks whether the job can run here, and what it says.
struct Check {
  pid_t pid = -1;
  transport::Descriptor said;
  std::string text;
  Time until = 0;
};

class Agent {
 public:
  Agent(transport::Descriptor in, transport::Descriptor out) : link_(std::move(in), std::move(out)) {}

  int run() {
    while (take_messages()) {
      pump(kQueuedBytesMax);
      if (crew_)
        for (const CrewEvent& event : crew_->take_events()) tell(event);
      look_at_check();
      const Time now = steady_clock().now();
      if (now - told_ >= kAliveEvery) say({kAlive});
      wait();
      link_.flush();
    }
    if (check_.pid > 0) {
      kill_group(check_.pid);
      while (!reap(check_.pid)) ::poll(nullptr, 0, 1);
    }
    if (crew_) crew_->remove_logs();  // their content has been sent to the launcher's host
    return 0;
  }

 private:
  void say(const AgentMessage& message) {
    told_ = steady_clock().now();
    link_.send(message);
  }

  void wait() const {
    std::vector<pollfd> watched;
    link_.watch(watched);
    if (crew_) crew_->watch(watched);
    if (check_.pid > 0) watched.push_back({check_.said.get(), POLLIN, 0});
    ::poll(watched.data(), watched.size(), kLookEvery_ms);
  }

  /// Handles the launcher's messages. Returns false when the launcher is gone.
  bool take_messages() {
    for (;;) {
      auto message = link_.receive();
      if (!message.ok()) return false;
      if (!*message) return steady_clock().now() - heard_ < quiet_;
      heard_ = steady_clock().now();
      const Status done = handle(**message);
      if (!done.ok()) say(message_of(done));
    }
  }

  Status handle(const AgentMessage& m) {
    if (m.kind == kAlive) return {};
    if (m.kind == kGreet) return greet(m);
    if (m.kind == kPrepare) return prepare(m);
    if (m.kind == kCheck) return check(m);
    if (!crew_) return corrupt("'" + m.kind + "' came before a plan");
    if (m.kind == kListen) {
      COHAUL_ASSIGN(const std::string address, crew_->listen());
      say({kListening, {{"address", address}}});
    } else if (m.kind == kStart) {
      COHAUL_TRY(crew_->start_members(m.text("address")));
      say({kRunning});
    } else if (m.kind == kAsk) {
      crew_->ask(static_cast<int>(m.number("signal")));
    } else if (m.kind == kExited) {
      COHAUL_ASSIGN(const CrewEvent event, event_of(m));
      crew_->exited_elsewhere(event.who, event.exit);
    } else {
      COHAUL_ASSIGN(const MemberKey who, member_of_text(m.text("who")));
      if (m.kind == kTerminate) crew_->terminate(who);
      if (m.kind == kKill) crew_->kill(who);
      if (m.kind == kKillIfStopped) crew_->kill_if_stopped(who);
    }
    return {};
  }

  Status greet(const AgentMessage& m) {
    if (m.text("version") != library_version())
      return invalid("it has version " + std::string(library_version()) + " of Cohaul, the command has " +
                     m.text("version") + ": every host needs the same one");
    if (m.number("quiet ms") > 0) quiet_ = m.number("quiet ms") * kMillisecond;
    (void)!::chdir(m.text("folder").c_str());  // where it is not there, the agent stays in the home folder
    say({kReady, {{"host", host_name()}}});
    return {};
  }

  Status prepare(const AgentMessage& m) {
    COHAUL_ASSIGN(CrewPlan plan, plan_of(m));
    COHAUL_ASSIGN(streams_, TemporaryFolder::make("cohaul-agent"));
    for (int i = 0; i < 2; ++i) {
      const std::string path = streams_.file(std::to_string(i + 1));
      first_[i] = transport::Descriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
      if (!first_[i].valid()) return system_error("make " + path, errno);
      first_tails_[i] = std::make_unique<Tail>(path);
    }
    crew_ = std::make_unique<LocalCrew>(std::move(plan), first_[0].get(), first_[1].get(),
                                        [this](MemberKey who, std::int64_t pid, const std::string& log) {
                                          logs_.emplace(who, Tail(log));
                                          say({kStarted, {{"who", text_of(who)}, {"pid", std::to_string(pid)}}});
                                        });
    COHAUL_TRY(crew_->prepare());
    say({kPrepared});
    return {};
  }

  Status check(const AgentMessage& m) {
    SpawnOptions spawning;
    for (const auto& [name, word] : m.fields)
      if (name.starts_with("command.")) spawning.command.push_back(crew_ ? crew_->expand(word) : word);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("pipe", errno);
    check_.said = transport::Descriptor(ends[0]);
    const transport::Descriptor write_end(ends[1]);
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    const transport::Descriptor nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    spawning.stdout_fd = nowhere.get();
    spawning.stderr_fd = ends[1];
    COHAUL_ASSIGN(check_.pid, spawn(spawning));
    check_.until = steady_clock().now() + kCheckLimit;
    return {};
  }

  void look_at_check() {
    if (check_.pid < 0) return;
    const auto exit = reap(check_.pid);
    char buffer[4096];
    for (ssize_t n; (n = ::read(check_.said.get(), buffer, sizeof buffer)) > 0;)
      if (check_.text.size() < kChunkBytes) check_.text.append(buffer, static_cast<std::size_t>(n));
    if (!exit) {
      if (steady_clock().now() >= check_.until) kill_group(check_.pid);
      return;
    }
    say({kChecked, {{"exit", std::to_string(exit->by_signal ? 128 + exit->code : exit->code)}, {"said", check_.text}}});
    check_ = {};
  }

  void tell(const CrewEvent& event) {
    if (event.kind == CrewEvent::Kind::exited) pump(SIZE_MAX);  // what it has written comes before its end
    say(message_of(event));
  }

  /// Sends what the processes have written, until so many bytes wait to be sent.
  void pump(std::size_t queued_most) {
    const auto drain = [&](Tail& tail, const std::function<AgentMessage(std::string)>& wrap) {
      while (link_.queued() < queued_most) {
        std::string bytes = tail.read(kChunkBytes);
        if (bytes.empty()) return;
        say(wrap(std::move(bytes)));
      }
    };
    for (int i = 0; i < 2; ++i) {
      if (!first_tails_[i]) continue;
      drain(*first_tails_[i], [&](std::string bytes) {
        return AgentMessage{kOutput, {{"stream", std::to_string(i + 1)}, {"bytes", std::move(bytes)}}};
      });
    }
    for (auto& [who, tail] : logs_)
      drain(tail, [&](std::string bytes) {
        return AgentMessage{kLog, {{"who", text_of(who)}, {"bytes", std::move(bytes)}}};
      });
    find_outputs();
    for (auto& [name, tail] : outputs_)
      drain(tail, [&](std::string bytes) {
        return AgentMessage{kFile, {{"name", name}, {"bytes", std::move(bytes)}}};
      });
  }

  /// Finds the outputs. One may be a folder, whose files come one by one.
  void find_outputs() {
    if (!crew_ || crew_->outputs().empty()) return;
    std::error_code error;
    for (fs::recursive_directory_iterator it(crew_->outputs(), error), end; !error && it != end; it.increment(error)) {
      const std::string path = it->path().string(), name = path.substr(crew_->outputs().size() + 1);
      // A file that is still being written under another name is not there yet.
      if (it->is_regular_file(error) && name.find(".tmp-") == std::string::npos && !outputs_.contains(name))
        outputs_.emplace(name, Tail(path));
    }
  }

  AgentLink link_;
  Time heard_ = steady_clock().now(), told_ = heard_;
  Duration quiet_ = kGreetLimit;
  TemporaryFolder streams_;
  transport::Descriptor first_[2];  // the first worker's stdout and stderr
  std::unique_ptr<Tail> first_tails_[2];
  std::map<MemberKey, Tail> logs_;
  std::map<std::string, Tail> outputs_;
  Check check_;
  std::unique_ptr<LocalCrew> crew_;
};

}  // namespace

int run_agent(transport::Descriptor in, transport::Descriptor out) {
  const FailingWrites failing;
  return Agent(std::move(in), std::move(out)).run();
}

}  // namespace cohaul::job
