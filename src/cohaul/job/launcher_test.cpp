// Real processes: started, killed, stopped, interrupted. COHAUL_JOB_MEMBER is testing/member_main.cpp.
#include "cohaul/job/launcher.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>

#include "cohaul/base/temporary_folder.h"
#include "cohaul/job/process.h"

namespace cohaul::job {
namespace {

namespace fs = std::filesystem;
constexpr double kPeerTimeout = 2;

/// The launcher in a process of its own, its output in files.
class Launched {
 public:
  Launched(std::string workers, std::string servers, std::vector<std::string> command, std::string join_timeout = "20",
           std::string address = "127.0.0.1", std::string must = "must") {
    const std::string& name = folder_.path();
    SpawnOptions o;
    o.command = {COHAUL_JOB_MEMBER, "launch", workers, servers,        std::to_string(kPeerTimeout),
                 join_timeout,      address,  must,    name + "/logs", "--"};
    o.command.insert(o.command.end(), command.begin(), command.end());
    int out = ::open((name + "/out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int err = ::open((name + "/err").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    o.stdout_fd = out;
    o.stderr_fd = err;
    started_ = std::chrono::steady_clock::now();
    auto pid = spawn(o);
    EXPECT_TRUE(pid.ok()) << pid.status().message();
    pid_ = pid.ok() ? *pid : -1;
    ::close(out);
    ::close(err);
  }
  ~Launched() {
    if (!exit_ && pid_ > 0) ::kill(pid_, SIGKILL);
  }
  /// Returns the exit code (128 + signal when killed); -1: still running after `limit_s`.
  int wait(double limit_s = 20) {
    int status = 0;
    for (auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(limit_s);
         std::chrono::steady_clock::now() < end;) {
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        exit_ = true;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
      pause(0.01);
    }
    return -1;
  }
  static void pause(double s) { std::this_thread::sleep_for(std::chrono::duration<double>(s)); }
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count(); }
  pid_t pid() const { return pid_; }
  std::string read(const std::string& name) const {
    std::ifstream in(folder_.file(name));
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }
  std::string err() const { return read("err"); }
  /// Waits until `count` processes have been started.
  std::vector<pid_t> children(std::size_t count) const {
    std::vector<pid_t> pids;
    for (int i = 0; i < 1000 && pids.size() < count; ++i, pause(0.01)) pids = started();
    EXPECT_EQ(pids.size(), count);
    return pids;
  }
  std::vector<pid_t> started() const {
    std::vector<pid_t> pids;
    std::string text = read("out");
    static constexpr std::string_view kPid = "pid ";
    for (std::size_t at = 0; (at = text.find(kPid, at)) != std::string::npos;) {
      at += kPid.size();
      const std::size_t end = text.find_first_not_of("0123456789", at);
      if (end != std::string::npos && end > at && text[end] == '\n') pids.push_back(std::stoi(text.substr(at)));
    }
    return pids;
  }
  /// Returns how many live after `limit_s`. Zombies, which wait only for their parent's look, do not count.
  int left(double limit_s = 1) const {
    int n = 0;
    for (auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(limit_s);;) {
      n = 0;
      for (pid_t p : started()) {
        std::ifstream in("/proc/" + std::to_string(p) + "/stat");
        std::string line;
        std::getline(in, line);
        auto at = line.rfind(')');
        n += at != std::string::npos && line[at + 2] != 'Z' && line[at + 2] != 'X';
      }
      if (n == 0 || std::chrono::steady_clock::now() > end) return n;
      pause(0.01);
    }
  }

 private:
  TemporaryFolder folder_ = std::move(TemporaryFolder::make("cohaul-test")).value();
  pid_t pid_ = -1;
  bool exit_ = false;
  std::chrono::steady_clock::time_point started_;
};

const std::string kMember = COHAUL_JOB_MEMBER;
#define EXPECT_SAYS(text, what) EXPECT_NE((text).find(what), std::string::npos) << (text)

TEST(LauncherTest, AllGoesWell) {
  Launched l("3", "1", {kMember});
  EXPECT_EQ(l.wait(), 0) << l.err();
  EXPECT_SAYS(l.read("out"), "done\n");  // the first worker's
  EXPECT_SAYS(l.read("logs/worker_2.log"), "done\n");
  EXPECT_SAYS(l.read("logs/server_0.log"), "done\n");
  EXPECT_EQ(l.started().size(), 4u);
  EXPECT_EQ(l.left(), 0);
}

TEST(LauncherTest, NamesAKilledWorkerAndItsSignal) {
  Launched l("3", "1", {kMember, "w1=kill", "w0=wait", "w2=wait"});
  EXPECT_EQ(l.wait(), 3);
  EXPECT_LT(l.seconds(), 5);
  EXPECT_SAYS(l.err(), "worker 1: killed by signal 9 (SIGKILL); last operation: member step 1");
  EXPECT_SAYS(l.err(), "worker_1.log");
  EXPECT_EQ(l.left(), 0);
}

TEST(LauncherTest, NamesAKilledServer) {
  Launched l("2", "2", {kMember, "s1=kill", "w0=stuck", "w1=wait"});
  EXPECT_EQ(l.wait(), 3);
  EXPECT_SAYS(l.err(), "server 1: killed by signal 9 (SIGKILL)");
  EXPECT_EQ(l.left(), 0);
}

TEST(LauncherTest, NamesAStoppedWorkerByItsSilence) {
  Launched l("2", "0", {kMember, "w1=stop", "w0=wait"});
  EXPECT_EQ(l.wait(), 3);
  EXPECT_LT(l.seconds(), kPeerTimeout + 5);
  EXPECT_SAYS(l.err(), "worker 1: no heartbeat for 2.");
  EXPECT_SAYS(l.err(), "last operation: member step 1");
  EXPECT_EQ(l.left(), 0);
}

TEST(LauncherTest, ASlowWorkerIsNotLost) {
  Launched l("2", "0", {kMember, "w1=slow"});  // 3 s in one step, of a timeout of 2 s
  EXPECT_EQ(l.wait(), 0) << l.err();
  EXPECT_GT(l.seconds(), 3);
}

TEST(LauncherTest, PassesExitCodesOn) {
  Launched mistake("2", "0", {kMember, "w1=fail", "w0=wait"});
  EXPECT_EQ(mistake.wait(), 2);
  EXPECT_SAYS(mistake.err(), "worker 1: train.lr: 'fast' is not a number");
  Launched other("2", "0", {kMember, "w1=exit5", "w0=wait"});
  EXPECT_EQ(other.wait(), 1);
  EXPECT_SAYS(other.err(), "worker 1: exited with code 5");
  Launched silent("2", "0", {kMember, "w1=exit0", "w0=wait"});
  EXPECT_EQ(silent.wait(), 3);
  EXPECT_SAYS(silent.err(), "worker 1: exited with code 0 without a goodbye");
  EXPECT_EQ(mistake.left() + other.left() + silent.left(), 0);
}

TEST(LauncherTest, NamesAWorkerThatNeverJoins) {
  Launched l("3", "1", {kMember, "w2=absent"}, "1.5");
  EXPECT_EQ(l.wait(), 3);
  EXPECT_LT(l.seconds(), 1.5 + 5);
  EXPECT_SAYS(l.err(), "worker 2: did not join within 1.5 s (job.join_timeout_s)");
  EXPECT_EQ(l.left(), 0);
}

TEST(LauncherTest, AfterTheGoodbyesNothingIsAFailure) {
  Launched l("2", "0", {kMember, "w1=linger"});
  Launched stopped("2", "0", {kMember, "w1=linger"}, "20", "127.0.0.1", "may");
  std::vector<pid_t> pids = l.children(2), others = stopped.children(2);
  for (int i = 0; i < 300 && l.read("out").find("done") == std::string::npos; ++i) Launched::pause(0.01);
  for (int i = 0; i < 300 && stopped.read("out").find("done") == std::string::npos; ++i) Launched::pause(0.01);
  Launched::pause(0.2);
  ::kill(pids[1], SIGKILL);
  ::kill(others[1], SIGSTOP);
  EXPECT_EQ(l.wait(), 0) << l.err();
  EXPECT_EQ(stopped.wait(), 0) << stopped.err();
  EXPECT_EQ(l.left() + stopped.left(), 0);
}

TEST(LauncherTest, PlainProgramsRunToo) {
  Launched l("3", "0", {"sh", "-c", "echo plain; sleep 1.5"}, "0.5", "127.0.0.1", "may");
  EXPECT_EQ(l.wait(), 0) << l.err();
  Launched fails("2", "0", {"sh", "-c", "echo sorry; exit 7"}, "0.5", "127.0.0.1", "may");
  EXPECT_EQ(fails.wait(), 1);
}

TEST(LauncherTest, ChildrenOfChildrenEndToo) {
  const std::string sleeper = "sleep " + std::to_string(100000 + ::getpid());
  Launched l("2", "0", {"sh", "-c", sleeper + " & exec " + kMember + " w1=kill w0=wait"});
  EXPECT_EQ(l.wait(), 3);
  Launched::pause(0.1);
  EXPECT_NE(std::system(("pgrep -x -f '" + sleeper + "' > /dev/null").c_str()), 0);
}

TEST(LauncherTest, AKilledLauncherLeavesNobody) {
  Launched l("2", "1", {kMember, "all=stuck"});
  l.children(3);
  Launched::pause(1);
  ::kill(l.pid(), SIGKILL);
  EXPECT_EQ(l.wait(), 128 + SIGKILL);
  EXPECT_EQ(l.left(kPeerTimeout), 0);
}

TEST(LauncherTest, AStoppedLauncherIsGivenUp) {
  Launched l("2", "1", {kMember, "w0=wait", "w1=stuck", "s0=wait"});
  l.children(3);
  Launched::pause(1);
  ::kill(l.pid(), SIGSTOP);
  EXPECT_EQ(l.left(kPeerTimeout + 5), 0);
  EXPECT_SAYS(l.read("logs/worker_1.log"), "the launcher: no answer to heartbeats for 2.");
  EXPECT_SAYS(l.read("logs/worker_1.log"), "busy with 'member step 1'");
  ::kill(l.pid(), SIGCONT);
  EXPECT_EQ(l.wait(), 3);
  EXPECT_SAYS(l.err(), "the launcher: it stood still for");
}

TEST(LauncherTest, CtrlCEndsAll) {
  for (int signal : {SIGINT, SIGTERM}) {
    Launched l("2", "1", {kMember, "all=stuck"});
    l.children(3);
    Launched::pause(0.5);
    ::kill(l.pid(), signal);
    EXPECT_EQ(l.wait(5), 128 + signal);
    EXPECT_EQ(l.left(), 0);
  }
}

TEST(LauncherTest, EndsThoseWhoIgnoreSigterm) {
  Launched l("2", "0", {"sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"}, "0.3");
  EXPECT_EQ(l.wait(), 3);
  EXPECT_LT(l.seconds(), 5);
  EXPECT_EQ(l.left(), 0);
}

TEST(LauncherTest, APortTakenIsTheUsersMistake) {
  auto poller = transport::make_poller();
  ASSERT_TRUE(poller.ok());
  auto taken = transport::listen(**poller, {}, "127.0.0.1", 0);
  ASSERT_TRUE(taken.ok());
  std::string address = "127.0.0.1:" + std::to_string((*taken)->address().port);
  Launched l("2", "0", {kMember}, "20", address);
  EXPECT_EQ(l.wait(), 2);
  EXPECT_SAYS(l.err(), "job.address: cannot listen on " + address);
  EXPECT_TRUE(l.started().empty());
  Launched nonsense("2", "0", {kMember}, "20", "127.0.0.1:many");
  EXPECT_EQ(nonsense.wait(), 2);
  EXPECT_SAYS(nonsense.err(), "job.address: '127.0.0.1:many'");
  Launched absent("2", "0", {"/no/such/program"});
  EXPECT_EQ(absent.wait(), 2);
  EXPECT_SAYS(absent.err(), "cannot start '/no/such/program'");
}

TEST(LauncherTest, TemporaryLogsStayOnlyAfterAFailure) {
  LaunchOptions o;
  o.workers = 2;
  o.must_join = false;
  std::string log;
  o.on_started = [&](const LaunchedProcess& p) { log = p.log; };
  o.worker_command = {"true"};
  auto good = launch(o);
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good->exit_code, 0);
  EXPECT_FALSE(fs::exists(log));
  o.worker_command = {"sh", "-c", "echo the reason; exit 4"};
  auto bad = launch(o);
  ASSERT_TRUE(bad.ok());
  EXPECT_EQ(bad->exit_code, 1);
  EXPECT_TRUE(fs::exists(log));
  EXPECT_SAYS(bad->message, bad->log);
  if (fs::path(log).filename() == "worker_1.log") fs::remove_all(fs::path(log).parent_path());
}

TEST(LauncherTest, NothingIsLeftWhereItCannotListen) {
  const TemporaryFolder folder = TemporaryFolder::make("cohaul-test").value();
  const auto poller = transport::make_poller();
  const auto taken = transport::listen(**poller, {}, "127.0.0.1", 0);
  LaunchOptions o;
  o.worker_command = {"true"};
  o.address = "127.0.0.1:" + std::to_string((*taken)->address().port);
  ::setenv("TMPDIR", folder.path().c_str(), 1);
  EXPECT_EQ(launch(o).status().code(), Code::invalid);
  ::unsetenv("TMPDIR");
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace cohaul::job
