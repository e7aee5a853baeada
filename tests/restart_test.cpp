// Tests of job.restarts: a job whose processes are killed is started again from its newest checkpoint, and ends as if none had been killed.

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>

#include "broken_files.h"
#include "cohaul/checkpoint/folder.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

namespace fs = std::filesystem;

constexpr double kLong = 120;
const Arguments kRun = set({"train.steps=6000", "train.log_every=50", "job.workers=2"});

class Restart : public testing::Test {
 protected:
  Restart() { job_ = write_softmax_job(home_.path(), 2000); }
  Arguments command(const std::vector<std::string>& pairs) const {
    return Arguments{"train", job_, "--record", "{}/record", "--csv", "{}/table", "--quiet"} + kRun +
           set({"train.checkpoint=" + checkpoints(), "train.checkpoint_every=25"}) + set(pairs);
  }
  std::string checkpoints() const { return home_.file("checkpoints"); }
  std::int64_t newest() const {
    const std::vector<std::int64_t> all = checkpoint::list(checkpoints());
    return all.empty() ? 0 : all.back();
  }
  /// Kills worker 1 when this try has written a checkpoint.
  void kill_worker(const Running& running) const {
    const std::int64_t before = newest();
    ASSERT_TRUE(eventually(kLong, [&] { return newest() > before; })) << running.err();
    ::kill(running.find("worker", 1, kLong), SIGKILL);
  }
  static std::vector<nlohmann::json> lines(const Running& running, const std::string& kind) {
    std::vector<nlohmann::json> out;
    for (const nlohmann::json& line : record_lines(running))
      if (line.value("record", "") == kind) out.push_back(line);
    return out;
  }
  TemporaryFolder home_ = fresh_folder();
  std::string job_;
};

TEST_F(Restart, GoesOnFromTheNewestCheckpoint) {
  const RunResult whole = train(job_, kRun);
  Running running(command({"job.restarts=2"}));
  for (std::size_t n = 1; n <= 2; ++n) {
    kill_worker(running);
    ASSERT_TRUE(eventually(kLong, [&] { return lines(running, "restart").size() == n; })) << running.err();
  }
  ASSERT_EQ(running.wait(kLong), 0) << running.err();
  ASSERT_EQ(lines(running, "result").size(), 1u);
  EXPECT_EQ(lines(running, "result").front().at("parameters_sha256"), whole.hash());
  const nlohmann::json second = lines(running, "restart").back();
  EXPECT_EQ(second.at("try"), 2);
  EXPECT_NE(second.at("message").get<std::string>().find("worker 1: killed by signal 9"), std::string::npos) << second;
  EXPECT_NE(second.at("from").get<std::string>().find(checkpoints() + "/step-"), std::string::npos) << second;
  EXPECT_NE(running.err().find("restart 2 of 2, from "), std::string::npos) << running.err();
  // The table of all tries, with one line of columns.
  const std::string table = read_file(running.folder() + "/table");
  EXPECT_EQ(table.find("step,loss"), 0u);
  EXPECT_EQ(table.find("step,loss", 1), std::string::npos);
  EXPECT_NE(table.find("\n50,"), std::string::npos);
  EXPECT_NE(table.find("\n6000,"), std::string::npos);
}

TEST_F(Restart, TheLastFailureIsTheJobs) {
  Running running(command({"job.restarts=1", "train.steps=10000000"}));
  kill_worker(running);
  ASSERT_TRUE(eventually(kLong, [&] { return lines(running, "restart").size() == 1; })) << running.err();
  kill_worker(running);
  EXPECT_EQ(running.wait(kLong), 3) << running.err();
  EXPECT_EQ(lines(running, "error").size(), 1u);
}

TEST_F(Restart, ASignalEndsTheJob) {
  Running running(command({"job.restarts=5", "train.steps=10000000"}));
  ASSERT_TRUE(eventually(kLong, [&] { return newest() > 0; })) << running.err();
  ::kill(running.pid(), SIGTERM);
  EXPECT_EQ(running.wait(kLong), 143) << running.err();
  EXPECT_TRUE(lines(running, "restart").empty());
}

TEST_F(Restart, NeedsCheckpointsOfItsOwn) {
  const RunResult without = train(job_, kRun + set({"job.restarts=1"}));
  EXPECT_EQ(without.exit, 2);
  EXPECT_NE(without.err.find("job.restarts"), std::string::npos) << without.err;
  {
    Running first(command({"train.steps=100"}));
    ASSERT_EQ(first.wait(kLong), 0) << first.err();
  }
  Running again(command({"train.steps=200", "job.restarts=1", "train.resume=off"}));
  EXPECT_EQ(again.wait(kLong), 2);
  EXPECT_NE(again.err().find("has checkpoints already"), std::string::npos) << again.err();
  Running goes_on(command({"train.steps=200", "job.restarts=1", "train.resume=auto"}));
  EXPECT_EQ(goes_on.wait(kLong), 0) << goes_on.err();
}

}  // namespace
}  // namespace cohaul::tests
