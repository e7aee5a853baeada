// Tests of what the user reads about a failure: one line that says which process, what and where, and nothing that is wrong.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "broken_files.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

namespace fs = std::filesystem;

constexpr double kLong = 120;

constexpr const char* kJob = R"([model]
name = "softmax"
[data]
name = "idx"
path = "data"
[train]
batch = 8
steps = 200
[job]
threads = 1
logs = "logs"
)";

TemporaryFolder make_job() { return job_folder(kJob); }

Arguments train_own(const std::vector<std::string>& sets, const std::string& program = COHAUL_OWN_WORKER) {
  return Arguments{"train", "{}/job.toml", "--quiet", "--record", "{}/record", "--program", program, "--workers", "2"} +
         set(sets);
}

bool has(const std::string& text, const std::string& what) { return text.find(what) != std::string::npos; }

class Misfit : public testing::TestWithParam<int> {};

TEST_P(Misfit, OfLibTorchIsOneLineAndItsStackIsInTheLog) {
  const std::string worker = std::to_string(GetParam());
  Running running(train_own({"model.name=misfits", "model.worker=" + worker}), make_job());
  EXPECT_EQ(running.wait(kLong), 1) << running.err();
  const auto lines = record_lines(running);
  ASSERT_FALSE(lines.empty());
  const nlohmann::json& error = lines.back();
  EXPECT_EQ(error["rank"], GetParam());
  EXPECT_TRUE(has(error.value("message", ""),
                  ": LibTorch: addmm: mat1 and mat2 shapes cannot be multiplied (4x700 and 784x10)"))
      << error;
  EXPECT_EQ(error.value("operation", "").rfind("compute step", 0), 0u) << error;
  EXPECT_FALSE(has(running.err(), "frame #")) << running.err();
  EXPECT_FALSE(has(running.err(), "Exception raised from")) << running.err();
  const std::string log = read_file(running.folder() + "/logs/worker_" + worker + ".log");
  EXPECT_TRUE(has(log, "frame #1: ")) << log;
}

INSTANTIATE_TEST_SUITE_P(At, Misfit, testing::Values(0, 1),
                         [](const auto& info) { return "Worker" + std::to_string(info.param); });

TEST(LastOperation, OfAShortRunIsNotItsJoining) {
  Running running(train_own({"model.name=dies", "job.peer_timeout_s=2"}), make_job());
  EXPECT_EQ(running.wait(kLong), 3) << running.err();
  const auto lines = record_lines(running);
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines.back()["rank"], 1);
  EXPECT_TRUE(has(running.err(), "killed by signal 9")) << running.err();
  const std::string operation = lines.back().value("operation", "");
  EXPECT_TRUE(has(operation, "step")) << operation;
}

TEST(AProgramThatTalks, BeforeItsWorkerMainIsAWorker) {
  TemporaryFolder folder = make_job();
  fs::create_symlink(COHAUL_OWN_WORKER, folder.file("talks"));
  Running running(train_own({"model.name=two_layers", "model.width=4", "train.steps=3"}, "{}/talks"),
                  std::move(folder));
  EXPECT_EQ(running.wait(kLong), 0) << running.err();
  EXPECT_NE(hash_of(running), "");
}

TEST(AProgramThatTalks, IsRefusedByItsReasonAlone) {
  TemporaryFolder folder = make_job();
  fs::create_symlink(COHAUL_OWN_WORKER, folder.file("talks"));
  Running running(train_own({"model.name=three_layers"}, "{}/talks"), std::move(folder));
  EXPECT_EQ(running.wait(kLong), 2) << running.err();
  EXPECT_EQ(std::ranges::count(running.err(), '\n'), 1) << running.err();
  EXPECT_TRUE(has(running.err(), "model.name = \"three_layers\"")) << running.err();
  EXPECT_FALSE(has(running.err(), "it talks")) << running.err();
}

TEST(InstructionSets, ThatDifferAreNamed) {
  TemporaryFolder folder = make_job();
  fs::create_symlink(COHAUL_OWN_WORKER, folder.file("plain"));
  Running running(train_own({"model.name=two_layers", "model.width=4", "train.steps=3"}, "{}/plain"),
                  std::move(folder));
  EXPECT_EQ(running.wait(kLong), 0) << running.err();
  std::vector<std::string> sets;
  for (const nlohmann::json& line : record_lines(running))
    if (line["record"] == "process") sets.push_back(line.value("instruction_set", ""));
  ASSERT_EQ(sets.size(), 2u);
  EXPECT_EQ(sets[1], "DEFAULT");
  if (sets[0] == sets[1]) GTEST_SKIP() << "this machine has no wide instructions that LibTorch uses";
  EXPECT_TRUE(has(running.err(), "computes with " + sets[0] + ", worker 1 on ")) << running.err();
  EXPECT_TRUE(has(running.err(), "with DEFAULT: results may differ")) << running.err();
}

TEST(Launch, HandsItsTimeoutsToThePrograms) {
  Running running({"launch", "--workers", "1", "--peer-timeout", "7", "--step-timeout", "8.5", "--join-timeout", "9",
                   "--", "/bin/sh", "-c", "env | grep ^COHAUL_.*_TIMEOUT"});
  EXPECT_EQ(running.wait(kLong), 0) << running.err();
  for (const char* value : {"PEER_TIMEOUT_S=7.0", "STEP_TIMEOUT_S=8.5", "JOIN_TIMEOUT_S=9.0"})
    EXPECT_TRUE(has(running.out(), value)) << running.out();
}

TEST(Launch, NamesWhoDoesNotJoinInItsTime) {
  Running running({"launch", "--workers", "2", "--join-timeout", "1", "--", "/bin/sh", "-c",
                   "test $COHAUL_RANK = 0 || exec sleep 100; exec " COHAUL_OWN_PRINTS " {}/data {}/done"},
                  make_job());
  EXPECT_EQ(running.wait(kLong), 3) << running.err();
  EXPECT_TRUE(has(running.err(), "worker 1: did not join within 1.0 s")) << running.err();
}

/// One program trains twice, one after the other, alone and as several workers.
class Twice : public testing::TestWithParam<std::string> {};

TEST_P(Twice, RunsOrSaysWhy) {
  TemporaryFolder folder = make_job();
  Running running("/bin/sh", {"-c", GetParam() + " " COHAUL_OWN_PRINTS " {}/data {}/done twice"}, std::move(folder));
  const auto exit = running.wait(kLong);
  ASSERT_TRUE(exit.has_value()) << "it hangs: " << running.out() << running.err();
  if (GetParam().empty()) {
    EXPECT_EQ(*exit, 0) << running.err();
    EXPECT_EQ(read_file(running.folder() + "/done"), "all steps are done\nall steps are done\n");
    return;
  }
  EXPECT_EQ(*exit, 2) << running.err();
  EXPECT_TRUE(has(running.err(), "this process has left its job already")) << running.err();
}

INSTANTIATE_TEST_SUITE_P(As, Twice, testing::Values("", COHAUL_BIN "/cohaul launch --workers 2 --"),
                         [](const auto& info) { return info.param.empty() ? "OneProcess" : "TwoWorkers"; });

}  // namespace
}  // namespace cohaul::tests
