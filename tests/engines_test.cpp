// Tests of `cohaul train` and `cohaul launch` as tasks of the real engines, where these are installed. Open MPI always is (./dev setup); ./dev accept
// installs the others.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <memory>

#include "broken_files.h"
#include "engine_runs.h"

namespace cohaul::tests {
namespace {

namespace fs = std::filesystem;

TEST_P(Engines, ItsTasksAreTheJobsWorkers) {
  const auto running = start(2, train());
  ASSERT_EQ(running->wait(kLong), 0) << running->err();
  EXPECT_NE(hash_of(*running), "");
  EXPECT_EQ(hash_of(*running), own());
  int workers = 0;
  for (const nlohmann::json& line : record_lines(*running)) workers += line.value("role", "") == "worker";
  EXPECT_EQ(workers, 2);
}

TEST_P(Engines, ItsLastTasksAreTheServers) {
  const std::vector<std::string> servers{"strategy.name=parameter_server", "strategy.servers=2"};
  const auto running = start(4, train(servers));
  ASSERT_EQ(running->wait(kLong), 0) << running->err();
  EXPECT_NE(hash_of(*running), "");
  EXPECT_EQ(hash_of(*running), own(servers));
}

/// The program uses the job's store and shared memory.
TEST_P(Engines, ItsTasksRunAnyProgram) {
  const std::string member = COHAUL_BIN "/job_member";
  const auto alone = start(3, {member});
  EXPECT_EQ(alone->wait(kLong), 0) << alone->err();
  const auto with_server = start(3, {COHAUL_BIN "/cohaul", "launch", "--servers", "1", "--", member});
  EXPECT_EQ(with_server->wait(kLong), 0) << with_server->err();
  const auto too_many = start(2, {COHAUL_BIN "/cohaul", "launch", "--servers", "2", "--", member});
  EXPECT_NE(too_many->wait(kLong), 0);
}

TEST_P(Engines, TwoJobsAtOnceDoNotMix) {
  const std::vector<std::string> seed{"train.seed=7"};
  const auto a = start(2, train()), b = start(2, train(seed));
  ASSERT_EQ(a->wait(kLong), 0) << a->err();
  ASSERT_EQ(b->wait(kLong), 0) << b->err();
  EXPECT_EQ(hash_of(*a), own());
  EXPECT_EQ(hash_of(*b), own(seed));
}

TEST_P(Engines, AnotherNumberOfWorkersIsTheUsersMistake) {
  const auto running = start(2, train() + Arguments{"--workers", "3"});
  const std::optional<int> exit = running->wait(kLong);
  ASSERT_TRUE(exit.has_value());
  EXPECT_NE(*exit, 0);
  EXPECT_NE(running->err().find("leave --workers out"), std::string::npos) << running->err();
  ASSERT_FALSE(record_lines(*running).empty());
  EXPECT_EQ(record_lines(*running).back().value("exit", 0), 2);
}

TEST_P(Engines, AKilledWorkerEndsAll) {
  const auto running = start_long(2);
  const std::vector<pid_t> second = processes(*running, "cohaul-worker", 1);
  ASSERT_EQ(second.size(), 1u);
  ::kill(second.front(), SIGKILL);
  const std::optional<int> exit = running->wait(2 * kSoon);
  ASSERT_TRUE(exit.has_value());
  EXPECT_NE(*exit, 0);
  if (GetParam().name != "OpenMPI" && GetParam().name != "Slurm")
    return;  // the others kill worker 0 before it knows the reason
  const std::string place = "pid " + std::to_string(second.front()) + " on ";
  EXPECT_NE(running->err().find("cohaul: the first failure: worker 1: "), std::string::npos) << running->err();
  EXPECT_NE(running->err().find(place), std::string::npos) << running->err();
  EXPECT_TRUE(eventually(kSoon, [&] { return processes(*running, "cohaul-worker").empty(); }));
}

TEST_P(Engines, WorkersEndWithTheEngine) {
  const auto running = start_long(2);
  const std::vector<pid_t> workers = processes(*running, "cohaul-worker");
  ASSERT_EQ(workers.size(), 2u);
  ::kill(parent_of(workers.front()), SIGKILL);
  EXPECT_TRUE(eventually(kSoon, [&] { return processes(*running, "cohaul-worker").empty(); }));
}

/// torchrun's summary names the cause of the process that failed by itself.
class Torchrun : public Engines {
 protected:
  /// Returns the line about a process's failure in its summary, after "Root Cause".
  static std::string cause(const Running& running) {
    const std::string err = running.err();
    const std::size_t root = err.rfind("Root Cause");
    const std::size_t at = err.find("traceback : ", root == err.npos ? err.size() : root);
    return at == err.npos ? err : err.substr(at, err.find('\n', at) - at);
  }
};

TEST_P(Torchrun, ShowsAMistakeInTheJob) {
  const auto running = start(2, train({"train.btach=3"}));
  EXPECT_NE(running->wait(kLong).value_or(0), 0);
  EXPECT_NE(cause(*running).find("--set train.btach=3: unknown key"), std::string::npos) << cause(*running);
}

TEST_P(Torchrun, ShowsWhatWorkersSay) {
  const Arguments same = train();
  Arguments script{"/bin/sh", "-c", "exec \"$@\" --set train.seed=$RANK", "sh"};
  const auto running = start(2, script + same);
  EXPECT_NE(running->wait(kLong).value_or(0), 0);
  EXPECT_NE(cause(*running).find("train.seed is 0 at worker 0"), std::string::npos) << cause(*running);
}

TEST_P(Torchrun, ShowsWhoWasKilled) {
  const auto running = start_long(2);
  const std::vector<pid_t> first = processes(*running, "cohaul-worker", 0);
  ASSERT_EQ(first.size(), 1u);
  ::kill(first.front(), SIGKILL);
  EXPECT_NE(running->wait(2 * kSoon).value_or(0), 0);
  EXPECT_NE(cause(*running).find("SIGKILL"), std::string::npos) << cause(*running);
  EXPECT_EQ(running->err().find("traceback : worker"), std::string::npos) << running->err();
}

/// Both "hosts" are this one, which the remote shell reaches; torchrun has an agent on each. Open MPI's daemons sometimes crash if two of them share
/// the topology of one host (rtc hwloc), so that is switched off; and they fail if they make their folders in one place at the same time.
class TwoHosts : public Engines {
 protected:
  using Runs = std::vector<std::unique_ptr<Running>>;

  /// Starts two workers, each on a host of its own.
  Runs start_on_two(const std::vector<std::string>& pairs) const {
    const std::string shell = home_.file("shell");
    write_file(shell, "#!/bin/sh\n[ \"$1\" = -x ] && shift\nexport TMPDIR=" + home_.path() +
                          "/$1\nmkdir -p $TMPDIR\nshift\nexec sh -c \"$*\"\n");
    fs::permissions(shell, fs::perms::owner_all);
    const std::string meeting = "127.0.0.1:" + std::to_string(20'000 + ::getpid() % 10'000);
    const std::map<std::string, Arguments> hosts{
        {"OpenMPI", {"--mca", "plm_rsh_agent", shell, "--mca", "rtc", "^hwloc", "--host", "one:1,two:1"}},
        {"MPICH", {"-launcher-exec", shell, "-hosts", "one,two", "-ppn", "1"}},
        {"Slurm", {"-N2", "--ntasks-per-node=1"}},
        {"torchrun",
         {"--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", meeting, "--rdzv-id", home_.path()}}};
    const bool has_agents = GetParam().name == "torchrun";
    Runs out;
    for (int i = 0; i < (has_agents ? 2 : 1); ++i)
      out.push_back(start(has_agents ? 1 : 2, train(pairs), hosts.at(GetParam().name)));
    return out;
  }
  /// Returns what worker 0 has recorded, whichever run it is in.
  static std::string hash_of(const Runs& runs) {
    std::string out;
    for (const auto& run : runs) out += tests::hash_of(*run);
    return out;
  }
};

TEST_P(TwoHosts, WorkersFindEachOther) {
  const Runs refused = start_on_two({});
  for (const auto& run : refused) EXPECT_NE(run->wait(kLong), 0);
  EXPECT_EQ(hash_of(refused), "");  // all processes report the reason, but mpirun may end them first
  const std::string hash_here = own();
  const std::string secret = home_.file("secret");
  write_file(secret, std::string(64, 's'));
  fs::permissions(secret, fs::perms::owner_read);
  for (const std::string& how : {"job.secret=" + secret, std::string("job.plaintext=true")}) {
    const Runs runs = start_on_two({how});
    for (const auto& run : runs) ASSERT_EQ(run->wait(kLong), 0) << run->err();
    EXPECT_NE(hash_here, "");
    EXPECT_EQ(hash_of(runs), hash_here);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Engines, kEngines, kName);
INSTANTIATE_TEST_SUITE_P(All, TwoHosts, kEngines, kName);
INSTANTIATE_TEST_SUITE_P(All, Torchrun, testing::Values(kTorchrun), kName);

}  // namespace
}  // namespace cohaul::tests
