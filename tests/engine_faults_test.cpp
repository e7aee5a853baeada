// Tests of runs under an engine that starts jobs: a process dies or stops, the cable between hosts is cut, the engine starts the run again; and what
// can be read on the cable. They use the real engines where these are installed: Open MPI always is, ./dev accept installs the others.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "engine_runs.h"
#include "ssh_hosts.h"

namespace cohaul::tests {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kServers{"strategy.name=parameter_server", "strategy.servers=1"};
// One per host for torchrun, which has an agent on each; one in all for the others.
using Runs = std::vector<std::unique_ptr<Running>>;

std::string err_of(const Runs& runs) {
  std::string out;
  for (const auto& run : runs) out += run->err();
  return out;
}

class Faults : public Engines {
 protected:
  /// Sends a signal to a task of a run with two workers and a server. Expects that all processes end and that an error names `who`.
  void strike(const std::string& of_program, int task, int signal, const std::string& who) {
    const auto running = start_long(3, kServers + Arguments{"job.peer_timeout_s=3"});
    const std::vector<pid_t> victim = processes(*running, of_program, task);
    ASSERT_EQ(victim.size(), 1u);
    ::kill(victim.front(), signal);
    // The engine would wait for a stopped process. Another process on its host continues it, so that it ends by itself.
    EXPECT_TRUE(eventually(20, [&] { return all_of(*running) == 0; })) << running->err();
    const std::optional<int> exit = running->wait(2 * kSoon);
    ASSERT_TRUE(exit.has_value()) << "it hangs: " << running->err();
    EXPECT_NE(*exit, 0);
    // MPICH may end all processes before one of them can report the loss; it then says itself that one was killed.
    const bool mpich_ended_all = GetParam().name == "MPICH" && signal == SIGKILL &&
                                 (running->out() + running->err()).find("BAD TERMINATION") != std::string::npos;
    EXPECT_TRUE(mpich_ended_all || running->err().find(who) != std::string::npos) << running->out() << running->err();
    EXPECT_EQ(all_of(*running), 0u);
  }
  std::size_t all_of(const Running& running) const {
    return processes(running, "cohaul-worker").size() + processes(running, "cohaul-server").size();
  }
};

TEST_P(Faults, AStoppedWorkerIsNamed) { strike("cohaul-worker", 1, SIGSTOP, "worker 1: no heartbeat for "); }
TEST_P(Faults, AStoppedServerIsNamed) { strike("cohaul-server", 2, SIGSTOP, "server 0: no heartbeat for "); }
TEST_P(Faults, AKilledServerIsNamed) { strike("cohaul-server", 2, SIGKILL, "server 0: "); }

/// Two workers, each on a host of its own, in one network.
class Cable : public Engines {
 protected:
  static void SetUpTestSuite() {
    if (why_no_hosts().empty()) hosts_ = std::make_unique<SshHosts>(2);
  }
  static void TearDownTestSuite() { hosts_.reset(); }
  void SetUp() override {
    if (!hosts_) GTEST_SKIP() << why_no_hosts();
    Engines::SetUp();
    hosts_->write_enter(enter_);
    write_file(secret_, kSecret);
    fs::permissions(secret_, fs::perms::owner_read);
  }
  /// `before` runs the workers' programs.
  Runs start_on_hosts(std::vector<std::string> pairs, bool in_the_clear = false, const Arguments& before = {}) const {
    pairs.push_back(in_the_clear ? "job.plaintext=true" : "job.secret=" + secret_);
    const std::string& name = GetParam().name;
    const Arguments program = before + train(pairs);
    Runs out;
    if (name == "torchrun") {
      for (int host = 1; host <= 2; ++host)
        out.push_back(std::make_unique<Running>(
            enter_, Arguments{std::to_string(host), GetParam().program, "--nnodes", "2", "--rdzv-backend", "c10d",
                              "--rdzv-endpoint", hosts_->address(1) + ":29400", "--rdzv-id", home_.path(),
                              "--local-addr", hosts_->address(host)} +
                        GetParam().arguments + Arguments{"1"} + program));
      return out;
    }
    if (name == "Slurm") {
      out.push_back(start(2, Arguments{task_of_slurm()} + program, {"-w", "node0,node1", "--ntasks-per-node=1"}));
      return out;
    }
    const std::string shell = remote_shell();
    const Arguments open_mpi{"--mca", "plm_rsh_agent", shell, "--mca", "rtc", "^hwloc", "--host", "node1:1,node2:1"},
        mpich{"-launcher-exec", shell, "-hosts", "node1,node2", "-ppn", "1", "-iface", hosts_->bridge()};
    out.push_back(start(2, program, name == "MPICH" ? mpich : open_mpi));
    return out;
  }
  /// Starts a run without end, and returns when it is training.
  Runs start_long_on_hosts(std::vector<std::string> pairs) const {
    pairs.push_back("train.steps=10000000");
    Runs out = start_on_hosts(pairs);
    EXPECT_TRUE(eventually(kLong, [&] { return is_stepping(out); })) << err_of(out);
    return out;
  }
  /// The process of the engine that has started this worker.
  pid_t starter_of(const Runs& runs, int rank) const {
    for (const auto& run : runs)
      for (const pid_t pid : processes(*run, "cohaul-worker", rank)) return parent_of(pid);
    return 0;
  }
  /// Stops a process of the engine in the middle of a run: its command, or what has started worker 1.
  pid_t stop_one(const Runs& runs, bool is_command) const {
    const pid_t pid = is_command ? runs.front()->pid() : starter_of(runs, 1);
    EXPECT_GT(pid, 1);
    ::kill(pid, SIGSTOP);
    return pid;
  }
  static bool is_stepping(const Runs& runs) {
    return std::ranges::any_of(runs, [](const auto& run) { return has_stepped(*run); });
  }
  static std::string hash_of(const Runs& runs) {
    std::string out;
    for (const auto& run : runs) out += tests::hash_of(*run);
    return out;
  }
  std::size_t workers(const Runs& runs) const {
    std::size_t out = 0;
    for (const auto& run : runs) out += processes(*run, "cohaul-worker").size();
    return out;
  }
  static constexpr const char* kSecret = "a secret of many words that nobody else may ever read";
  static inline std::unique_ptr<SshHosts> hosts_;
  std::string enter_ = home_.file("enter"), secret_ = home_.file("secret");

  static void write_program(const std::string& path, const std::string& lines) {
    write_file(path, "#!/bin/sh\n" + lines);
    fs::permissions(path, fs::perms::owner_all);
  }

 private:
  /// Writes the program that Open MPI and MPICH use instead of ssh.
  std::string remote_shell() const {
    const std::string path = home_.file("shell");
    write_program(path, "[ \"$1\" = -x ] && shift\nhost=$1; shift\nexec " + enter_ + " $host sh -c \"$*\"\n");
    return path;
  }
  /// Writes the program with which Slurm's tasks, whose daemons are on this host, move to their hosts.
  std::string task_of_slurm() const {
    const std::string path = home_.file("task");
    write_program(path, "exec " + enter_ + " $((SLURM_PROCID + 1)) \"$@\"\n");
    return path;
  }
};

TEST_P(Cable, ThatIsCutForFourSecondsIsWaitedFor) {
  const std::vector<std::string> steps{"train.steps=3000"};
  const Runs runs = start_on_hosts(steps);
  ASSERT_TRUE(eventually(kLong, [&] { return is_stepping(runs); })) << err_of(runs);
  hosts_->cut(2);
  ::sleep(4);
  EXPECT_EQ(hash_of(runs), "");  // the run ended within a step
  hosts_->mend(2);
  for (const auto& run : runs) EXPECT_EQ(run->wait(kLong), 0) << run->err();
  EXPECT_NE(hash_of(runs), "");
  EXPECT_EQ(hash_of(runs), own(steps));
}

TEST_P(Cable, ThatIsCutForGoodEndsAll) {
  const Runs runs = start_long_on_hosts({"job.peer_timeout_s=5"});
  ASSERT_EQ(workers(runs), 2u);
  hosts_->cut(2);
  EXPECT_TRUE(eventually(15, [&] { return workers(runs) == 0; })) << err_of(runs);
  hosts_->mend(2);
  EXPECT_NE(err_of(runs).find("worker 1: no heartbeat for "), std::string::npos) << err_of(runs);
  for (const auto& run : runs) {
    const std::optional<int> exit = run->wait(60);
    EXPECT_TRUE(exit.has_value() && *exit != 0) << err_of(runs);
  }
}

TEST_P(Cable, TheEnginesProcessOfAHostMayBeKilled) {
  const Runs runs = start_long_on_hosts({});
  std::vector<pid_t> second;
  for (const auto& run : runs)
    for (const pid_t pid : processes(*run, "cohaul-worker", 1)) second.push_back(pid);
  ASSERT_EQ(second.size(), 1u);
  ::kill(parent_of(second.front()), SIGKILL);
  EXPECT_TRUE(eventually(2 * kSoon, [&] { return workers(runs) == 0; })) << err_of(runs);
  if (GetParam().name == "Slurm")
    ::kill(runs.front()->pid(), SIGKILL);  // otherwise srun waits until Slurm misses the step's process
  for (const auto& run : runs) {
    const std::optional<int> exit = run->wait(60);
    EXPECT_TRUE(exit.has_value() && *exit != 0) << err_of(runs);
  }
}

/// The workers train to the end without it. The engine's command waits until it is continued.
TEST_P(Cable, TheEnginesProcessOfAHostMayBeStopped) {
  const std::vector<std::string> steps{"train.steps=1000"};
  const std::string hash_here = own(steps);
  EXPECT_NE(hash_here, "");
  for (const bool is_command : {true, false}) {
    const Runs runs = start_on_hosts(steps);
    ASSERT_TRUE(eventually(kLong, [&] { return is_stepping(runs); })) << err_of(runs);
    const pid_t stopped = stop_one(runs, is_command);
    EXPECT_EQ(hash_of(runs), "");  // it was in the middle of the run
    EXPECT_TRUE(eventually(kLong, [&] { return workers(runs) == 0; })) << err_of(runs);
    EXPECT_EQ(hash_of(runs), hash_here);
    ::kill(stopped, SIGCONT);
    for (const auto& run : runs) EXPECT_EQ(run->wait(60), 0) << err_of(runs);
  }
}

/// The others end within seconds, though the engine is not told, and long before they would miss a heartbeat.
TEST_P(Cable, AWorkerMayBeKilledWhileAProcessOfTheEngineIsStopped) {
  for (const bool is_command : {true, false}) {
    const Runs runs = start_long_on_hosts({"job.peer_timeout_s=60"});
    const pid_t stopped = stop_one(runs, is_command);
    for (const auto& run : runs)
      for (const pid_t pid : processes(*run, "cohaul-worker", 1)) ::kill(pid, SIGKILL);
    EXPECT_TRUE(eventually(2 * kSoon, [&] { return workers(runs) == 0; })) << err_of(runs);
    ::kill(stopped, SIGCONT);
    for (const auto& run : runs) {
      const std::optional<int> exit = run->wait(60);
      EXPECT_TRUE(exit.has_value() && *exit != 0) << err_of(runs);
    }
  }
}

/// Nothing that a worker writes by itself on its host is needed for the training.
TEST_P(Cable, AHostMayHaveNoRoomLeft) {
  const std::string logs = home_.file("logs"), full = home_.file("full"), only_there = home_.file("only_there");
  fs::create_directory(logs);
  SshHosts::write_full(full, home_.path(), {"/tmp", "/dev/shm", logs});
  write_program(only_there, "[ $(hostname) = node2 ] && exec " + full + " \"$@\"\nexec \"$@\"\n");
  const Runs runs = start_on_hosts({"job.logs=" + logs}, false, {only_there});
  for (const auto& run : runs) EXPECT_EQ(run->wait(kLong), 0) << run->err();
  EXPECT_NE(hash_of(runs), "");
  EXPECT_EQ(hash_of(runs), own());
}

/// Only Cohaul's messages are checked; the engine may say which command it starts.
TEST_P(Cable, TellsNothing) {
  const std::string saved = home_.file("saved");
  const auto capture = [&](bool in_the_clear) {
    fs::remove(saved);
    Capture cable(hosts_->port(1));
    const Runs runs = start_on_hosts({"train.save=" + saved}, in_the_clear);
    for (const auto& run : runs) EXPECT_EQ(run->wait(kLong), 0) << run->err();
    return cable.bytes();
  };
  const std::string bytes = capture(false);
  EXPECT_GT(bytes.size(), 100'000u);
  EXPECT_EQ(pieces_in(bytes, read_file(saved)), 0u);
  for (const char* words : {kSecret, "[model]", "all_reduce"}) EXPECT_EQ(bytes.find(words), std::string::npos) << words;
  // This run shows that plain text would be seen.
  const std::string clear = capture(true);
  EXPECT_GT(pieces_in(clear, read_file(saved)), 5u);
  EXPECT_NE(clear.find("all_reduce"), std::string::npos);
}

/// Slurm and torchrun start a job again by themselves.
class Again : public Engines {
 protected:
  static constexpr const char* kSteps = "train.steps=30000";
  Arguments with_checkpoints() const {
    return set({"train.checkpoint=" + home_.file("checkpoints"), "train.checkpoint_every=100", kSteps});
  }
  static bool has(const std::string& record, const std::string& kind) {
    return read_file(record).find("\"record\":\"" + kind + "\"") != std::string::npos;
  }
  /// Expects that a run continued, and ended with the parameters of a run that was not interrupted.
  void expect_went_on(const std::string& record) const {
    EXPECT_TRUE(has(record, "resumed")) << read_file(record);
    const auto lines = json_lines(read_file(record));
    ASSERT_FALSE(lines.empty());
    EXPECT_NE(lines.back().value("parameters_sha256", ""), "");
    EXPECT_EQ(lines.back().value("parameters_sha256", ""), own({kSteps}));
  }
};

class Requeued : public Again {};

TEST_P(Requeued, AJobGoesOnFromItsNewestCheckpoint) {
  const std::string record = home_.file("record"), script = home_.file("script"), out = home_.file("out");
  std::string line = "#!/bin/sh\nexec srun -n2";
  for (const std::string& word :
       Arguments{COHAUL_BIN "/cohaul", "train", job_, "--quiet", "--record", record + "$SLURM_RESTART_COUNT"} +
           with_checkpoints())
    line += " " + word;
  write_file(script, line + "\n");
  Running batch("/usr/bin/sbatch", {"--parsable", "--wait", "--requeue", "-n2", "-o", out, script});
  ASSERT_TRUE(eventually(kLong, [&] { return has(record, "checkpoint"); })) << read_file(out);
  const std::string job = std::to_string(std::stoi(batch.out()));
  Running requeue("/usr/bin/scontrol", {"requeue", job});
  ASSERT_EQ(requeue.wait(kLong), 0) << requeue.err();
  EXPECT_FALSE(has(record, "result"));
  // Slurm waits two minutes before it starts a job again, unless it is told to begin.
  EXPECT_TRUE(eventually(kLong, [&] {
    Running begin("/usr/bin/scontrol", {"update", "JobId=" + job, "StartTime=now"});
    (void)begin.wait(kSoon);
    return has(record + "1", "start");
  })) << read_file(out);
  EXPECT_EQ(batch.wait(kLong), 0) << read_file(out);
  expect_went_on(record + "1");
}

TEST_P(Requeued, AForgottenSrunIsTold) {
  const std::string out = home_.file("out"), script = home_.file("script");
  write_file(script, std::string("#!/bin/sh\nexec ") + COHAUL_BIN + "/cohaul train " + job_ + "\n");
  Running batch("/usr/bin/sbatch", {"--wait", "-n2", "-o", out, script});
  EXPECT_EQ(batch.wait(kLong), 2);
  EXPECT_NE(read_file(out).find("start the program with srun"), std::string::npos) << read_file(out);
}

class Restarted : public Again {};

TEST_P(Restarted, AJobGoesOnFromItsNewestCheckpoint) {
  const auto running = start(2, train() + with_checkpoints(), {"--max-restarts", "1"});
  const std::string record = running->folder() + "/record";
  ASSERT_TRUE(eventually(kLong, [&] { return has(record, "checkpoint"); })) << running->err();
  const std::vector<pid_t> victim = processes(*running, "cohaul-worker", 1);
  ASSERT_EQ(victim.size(), 1u);
  ::kill(victim.front(), SIGKILL);
  EXPECT_EQ(running->wait(kLong), 0) << running->err();
  expect_went_on(record);
}

INSTANTIATE_TEST_SUITE_P(All, Faults, kEngines, kName);
INSTANTIATE_TEST_SUITE_P(All, Cable, kEngines, kName);
INSTANTIATE_TEST_SUITE_P(All, Requeued, testing::Values(kSlurm), kName);
INSTANTIATE_TEST_SUITE_P(All, Restarted, testing::Values(kTorchrun), kName);

}  // namespace
}  // namespace cohaul::tests
