// Tests of signals that ask a run for a checkpoint, or for a checkpoint and its end.

#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <thread>

#include "broken_files.h"
#include "cohaul/checkpoint/folder.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

namespace fs = std::filesystem;

constexpr double kLong = 120;

constexpr const char* kFolder = "train.checkpoint={}/checkpoints";

class Stop : public testing::Test {
 protected:
  Stop() { (void)write_softmax_job(home_.path(), 2000); }
  /// Returns the command of a run without end, unless `steps` is given.
  Arguments command(const Arguments& more, const std::string& steps = "1000000") {
    return Arguments{"train", home_.file("job.toml"), "--record", "{}/record", "--quiet"} +
           set({"train.steps=" + steps}) + more;
  }
  static Arguments with(const std::vector<std::string>& pairs) { return set(pairs); }
  /// Waits until the run is training.
  static bool trains(const Running& running) {
    return eventually(kLong, [&] {
      return read_file(running.folder() + "/record").find("\"record\":\"step\"") != std::string::npos;
    });
  }
  static std::vector<std::int64_t> written(const Running& running) {
    return checkpoint::list(running.folder() + "/checkpoints");
  }
  static nlohmann::json last_line(const Running& running) {
    const auto lines = record_lines(running);
    return lines.empty() ? nlohmann::json::object() : lines.back();
  }
  static void expect_nobody(const Running& running) {
    EXPECT_TRUE(eventually(5, [&] { return running.descendants().empty(); })) << "somebody is left behind";
  }
  TemporaryFolder home_ = fresh_folder();
};

const Arguments kAllReduce = set({"job.workers=2"});
const Arguments kAsynchronous =
    set({"job.workers=2", "strategy.name=parameter_server", "strategy.servers=1", "strategy.consistency=async"});
const Arguments kServers = set({"job.workers=2", "strategy.name=parameter_server", "strategy.servers=2"});

TEST_F(Stop, SigtermWritesACheckpointFromWhichTheSameBitsCome) {
  const RunResult whole = train(home_.file("job.toml"), {});
  ASSERT_EQ(whole.exit, 0) << whole.err;
  for (const Arguments& way : {kAllReduce, kServers, set({"job.workers=1"})}) {
    const std::string folder = "train.checkpoint=" + home_.file("checkpoints");
    Running running(command(way + set({folder}), "3000"));
    ASSERT_TRUE(trains(running)) << running.err();
    ::kill(running.pid(), SIGTERM);
    EXPECT_EQ(running.wait(kLong), 143) << running.err();
    const std::vector<std::int64_t> all = checkpoint::list(home_.file("checkpoints"));
    ASSERT_EQ(all.size(), 1u) << running.err();
    EXPECT_LT(all[0], 3000);
    const std::string said = "stopped by SIGTERM after step " + std::to_string(all[0]) +
                             "; checkpoint: " + home_.file("checkpoints") + "/" + checkpoint::folder_name(all[0]);
    EXPECT_NE(running.err().find(said), std::string::npos) << running.err();
    EXPECT_EQ(last_line(running).value("exit", 0), 143);
    EXPECT_EQ(last_line(running).value("message", "").find(said), 0u);
    expect_nobody(running);
    const RunResult rest = train(home_.file("job.toml"), kAllReduce + set({folder}));
    ASSERT_EQ(rest.exit, 0) << rest.err;
    EXPECT_EQ(rest.hash(), whole.hash());
    fs::remove_all(home_.file("checkpoints"));
  }
}

TEST_F(Stop, CtrlCDoesLikewise) {
  Running running(command(kAllReduce + with({kFolder})));
  ASSERT_TRUE(trains(running)) << running.err();
  ::kill(-running.pid(), SIGINT);
  EXPECT_EQ(running.wait(kLong), 130) << running.err();
  EXPECT_EQ(written(running).size(), 1u);
  EXPECT_NE(running.err().find("stopped by SIGINT after step "), std::string::npos) << running.err();
  expect_nobody(running);
}

TEST_F(Stop, ASignalToAnyWorkerCountsForAll) {
  for (const Arguments& way : {kAllReduce, kServers, kAsynchronous}) {
    Running running(command(way + with({kFolder})));
    ASSERT_TRUE(trains(running)) << running.err();
    ::kill(running.find("worker", 1, 5), SIGTERM);
    EXPECT_EQ(running.wait(kLong), 143) << running.err();
    EXPECT_EQ(written(running).size(), 1u);
    expect_nobody(running);
  }
}

TEST_F(Stop, SigtermToEverybodyIsOneSignal) {
  Running running(command(kAllReduce + with({kFolder})));
  ASSERT_TRUE(trains(running)) << running.err();
  for (int rank : {0, 1}) ::kill(running.find("worker", rank, 5), SIGTERM);
  ::kill(running.pid(), SIGTERM);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  ::kill(running.pid(), SIGTERM);  // timeout(1) also sends it twice
  EXPECT_EQ(running.wait(kLong), 143) << running.err();
  EXPECT_EQ(written(running).size(), 1u) << running.err();
}

TEST_F(Stop, WithoutAFolderAllEndAtOnce) {
  Running running(command(kAllReduce));
  ASSERT_TRUE(trains(running)) << running.err();
  const double before = running.seconds();
  ::kill(running.pid(), SIGTERM);
  EXPECT_EQ(running.wait(kLong), 143);
  EXPECT_LT(running.seconds() - before, 5);
  EXPECT_NE(running.err().find("ended by SIGTERM"), std::string::npos) << running.err();
}

/// Worker 1 is stopped, so the current step does not end.
TEST_F(Stop, ASecondSignalEndsAllAtOnce) {
  Running running(command(kAllReduce + with({kFolder, "job.peer_timeout_s=60"})));
  ASSERT_TRUE(trains(running)) << running.err();
  ::kill(running.find("worker", 1, 5), SIGSTOP);
  ::kill(running.pid(), SIGTERM);
  EXPECT_FALSE(running.wait(3).has_value()) << "it waits for the checkpoint: " << running.err();
  const double before = running.seconds();
  ::kill(running.pid(), SIGTERM);
  EXPECT_EQ(running.wait(kLong), 143);
  EXPECT_LT(running.seconds() - before, 5);
  EXPECT_TRUE(written(running).empty());
  expect_nobody(running);
}

TEST_F(Stop, WhoDoesNotComeToTheCheckpointIsWaitedForNoLongerThanTheGrace) {
  Running running(command(kAllReduce + with({kFolder, "job.peer_timeout_s=60", "job.stop_grace_s=3"})));
  ASSERT_TRUE(trains(running)) << running.err();
  ::kill(running.find("worker", 1, 5), SIGSTOP);
  const double before = running.seconds();
  ::kill(running.pid(), SIGTERM);
  EXPECT_EQ(running.wait(kLong), 143);
  EXPECT_GT(running.seconds() - before, 2.5);
  EXPECT_LT(running.seconds() - before, 8);
  EXPECT_TRUE(written(running).empty());
  EXPECT_NE(running.err().find("there was none within 3 s (job.stop_grace_s)"), std::string::npos) << running.err();
  expect_nobody(running);
}

TEST_F(Stop, AfterALossNothingIsWrittenAndAllEndSoon) {
  for (const Arguments& way : {kAllReduce, kServers}) {
    Running running(command(way + with({kFolder, "job.peer_timeout_s=60"})));
    ASSERT_TRUE(trains(running)) << running.err();
    const pid_t first = running.find("worker", 1, 5);
    ::kill(first, SIGSTOP);
    ::kill(running.pid(), SIGTERM);
    EXPECT_FALSE(running.wait(0.5).has_value()) << running.err();
    const double before = running.seconds();
    ::kill(first, SIGKILL);
    EXPECT_EQ(running.wait(kLong), 143) << running.err();
    EXPECT_LT(running.seconds() - before, 5);
    EXPECT_TRUE(written(running).empty());
    EXPECT_NE(running.err().find("without a checkpoint: worker 1: killed by signal 9"), std::string::npos)
        << running.err();
    expect_nobody(running);
  }
}

TEST_F(Stop, Sigusr1WritesACheckpointAndTrainingGoesOn) {
  for (const Arguments& way : {kAllReduce, kServers}) {
    Running running(command(way + with({kFolder})));
    ASSERT_TRUE(trains(running)) << running.err();
    for (std::size_t n = 1; n <= 2; ++n) {
      ::kill(running.pid(), SIGUSR1);
      EXPECT_TRUE(eventually(kLong, [&] { return written(running).size() == n; })) << running.err();
    }
    EXPECT_FALSE(running.wait(0.5).has_value()) << running.err();
  }
}

/// Processes of a user's program under another launcher, which sets four variables and passes on no signals.
class OtherLauncher : public Stop {
 protected:
  std::vector<std::unique_ptr<Running>> start(int workers, const std::string& how = "") {
    std::vector<std::unique_ptr<Running>> all;
    const std::string port = std::to_string(20'000 + ::getpid() % 10'000);
    for (int r = 0; r < workers; ++r)
      all.push_back(std::make_unique<Running>(
          "/usr/bin/env",
          Arguments{"RANK=" + std::to_string(r), "WORLD_SIZE=" + std::to_string(workers), "MASTER_ADDR=127.0.0.1",
                    "MASTER_PORT=" + port, COHAUL_OWN_SIGNALS, home_.file("data"), home_.file("checkpoints"), how}));
    for (const auto& r : all)
      EXPECT_TRUE(eventually(kLong, [&] { return r->out().find("trains") != std::string::npos; })) << r->err();
    return all;
  }
  std::vector<std::int64_t> checkpoints() const { return checkpoint::list(home_.file("checkpoints")); }
};

TEST_F(OtherLauncher, SigtermToAnyProcessWritesACheckpointAndAllEnd) {
  for (const int workers : {1, 2}) {
    const auto all = start(workers);
    ::kill(all.back()->pid(), SIGTERM);
    for (const auto& r : all) EXPECT_EQ(r->wait(kLong), 143) << r->err();
    EXPECT_NE(all.front()->err().find("stopped by SIGTERM after step "), std::string::npos) << all.front()->err();
    EXPECT_EQ(checkpoints().size(), 1u);
    fs::remove_all(home_.file("checkpoints"));
  }
}

TEST_F(OtherLauncher, Sigusr1WritesACheckpointAndTrainingGoesOn) {
  const auto all = start(2);
  ::kill(all.front()->pid(), SIGUSR1);
  EXPECT_TRUE(eventually(kLong, [&] { return checkpoints().size() == 1; }));
  EXPECT_FALSE(all.front()->wait(0.5).has_value()) << all.front()->err();
  ::kill(all.front()->pid(), SIGTERM);
  EXPECT_EQ(all.front()->wait(kLong), 143) << all.front()->err();
}

TEST_F(OtherLauncher, AProgramsOwnHandlerStaysItsOwn) {
  const auto all = start(1, "handler");
  ::kill(all.front()->pid(), SIGTERM);
  EXPECT_EQ(all.front()->wait(kLong), 0) << all.front()->err();
  EXPECT_NE(all.front()->out().find("left by its own handler"), std::string::npos);
  EXPECT_EQ(all.front()->err().find("stopped by"), std::string::npos) << all.front()->err();
}

TEST_F(Stop, Sigusr1WithoutAFolderCostsAWarning) {
  Running running(command(kAllReduce));
  ASSERT_TRUE(trains(running)) << running.err();
  const std::string warning = "SIGUSR1: no checkpoint is written";
  for (int n = 0; n < 3; ++n) {
    ::kill(running.pid(), SIGUSR1);
    EXPECT_FALSE(running.wait(0.5).has_value()) << running.err();
  }
  const std::string said = running.err();
  ASSERT_NE(said.find(warning), std::string::npos) << said;
  EXPECT_EQ(said.find(warning), said.rfind(warning)) << said;
}

}  // namespace
}  // namespace cohaul::tests
