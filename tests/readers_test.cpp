// What a run writes, read by the programs that it is for: TensorBoard's and safetensors' Python packages. The table is read here.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "broken_files.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

namespace fs = std::filesystem;

constexpr const char* kJob = R"([model]
name = "softmax"
[data]
name = "idx"
path = "data"
[train]
batch = 8
steps = 30
slices = 2
log_every = 10
save = "end.safetensors"
checkpoint = "checkpoints"
checkpoint_every = 15
[optimizer]
lr = 0.01
clip_norm = 1
[schedule]
name = "cosine"
[job]
threads = 1
)";

std::string said_by(const std::string& command) {
  std::string out;
  std::array<char, 4096> piece{};
  FILE* const pipe = ::popen(command.c_str(), "r");
  for (std::size_t n; (n = std::fread(piece.data(), 1, piece.size(), pipe)) > 0;) out.append(piece.data(), n);
  EXPECT_EQ(::pclose(pipe), 0) << command;
  return out;
}

nlohmann::json read_back(const std::string& what, const std::string& path) {
  return nlohmann::json::parse(
      said_by("/usr/bin/python3 " COHAUL_READ_BACK " " COHAUL_READERS " " + what + " " + path));
}

class Readers : public testing::Test {
 protected:
  void SetUp() override {
    write_file(home_.file("job.toml"), kJob);
    write_data(home_.file("data"), {.images = 48, .labels = 48});
  }
  RunResult run(const Arguments& more) { return train(home_.file("job.toml"), more); }
  static bool there() { return fs::exists(COHAUL_READERS "/tensorboard") && fs::exists(COHAUL_READERS "/safetensors"); }

  TemporaryFolder home_ = fresh_folder();
};

constexpr const char* kNotThere = "the Python packages of cmake/readers.txt are not there: ./dev setup installs them";

/// [[step, value], …] of a record's events; a value of 32 bits.
nlohmann::json series(const RunResult& run, const std::string& kind, const std::string& name) {
  nlohmann::json out = nlohmann::json::array();
  for (const auto& line : run.record)
    if (line["record"] == kind)
      out.push_back({line["step"], static_cast<double>(static_cast<float>(line[name].get<double>()))});
  return out;
}

TEST_F(Readers, TensorBoardShowsWhatTheRecordHolds) {
  if (!there()) GTEST_SKIP() << kNotThere;
  const RunResult r = run({"--workers", "2", "--tensorboard", home_.file("board")});
  ASSERT_EQ(r.exit, 0) << r.err;
  const nlohmann::json seen = read_back("scalars", home_.file("board"));
  for (const char* name : {"loss", "lr", "gradient_norm", "skipped", "samples_per_s", "waiting"}) {
    EXPECT_EQ(seen["train/" + std::string(name)], series(r, "step", name)) << name;
    EXPECT_EQ(series(r, "step", name).size(), 3u);
  }
  EXPECT_EQ(seen["evaluation/loss"], series(r, "evaluation", "loss"));
  EXPECT_EQ(seen["evaluation/accuracy"], series(r, "evaluation", "accuracy"));
  EXPECT_EQ(seen["evaluation/loss"][0][0], 30);
  EXPECT_EQ(seen.size(), 8u) << seen;
}

TEST_F(Readers, TensorBoardForgetsStepsThatAreDoneAgain) {
  if (!there()) GTEST_SKIP() << kNotThere;
  const std::string board = home_.file("board");
  ASSERT_EQ(run({"--tensorboard", board}).exit, 0);
  for (const auto& entry : fs::directory_iterator(home_.file("checkpoints")))
    if (entry.path().filename().string().ends_with("30")) fs::remove_all(entry.path());
  const RunResult again = run({"--tensorboard", board, "--set", "train.log_every=5"});
  ASSERT_EQ(again.exit, 0) << again.err;
  nlohmann::json steps = nlohmann::json::array();
  const nlohmann::json seen = read_back("scalars", board);
  for (const auto& point : seen["train/loss"]) steps.push_back(point[0]);
  EXPECT_EQ(steps, nlohmann::json::parse("[10, 20, 25, 30]")) << again.err;
}

TEST_F(Readers, ExportedCheckpointsAreWhatWasSaved) {
  if (!there()) GTEST_SKIP() << kNotThere;
  const RunResult r = run({"--workers", "2"});
  ASSERT_EQ(r.exit, 0) << r.err;
  const std::string exported = home_.file("exported.safetensors");
  Running command({"checkpoint", home_.file("checkpoints"), "--export", exported});
  ASSERT_EQ(command.wait(60), 0) << command.err();
  const nlohmann::json seen = read_back("tensors", exported);
  EXPECT_EQ(seen, read_back("tensors", home_.file("end.safetensors")));
  ASSERT_EQ(seen.size(), 2u) << seen;
  for (const auto& [name, tensor] : seen.items()) EXPECT_EQ(tensor[0], "float32") << name;
}

TEST_F(Readers, TheTableHasARowForEachLineOfTheRecord) {
  const RunResult r = run({"--csv", home_.file("t.csv")});
  ASSERT_EQ(r.exit, 0) << r.err;
  std::vector<std::vector<std::string>> rows;
  std::istringstream text(read_file(home_.file("t.csv")));
  for (std::string line; std::getline(text, line);) {
    std::istringstream cells(line + ",");
    rows.emplace_back();
    for (std::string cell; std::getline(cells, cell, ',');) rows.back().push_back(cell);
  }
  ASSERT_EQ(rows.size(), 5u);  // heads, three steps, one evaluation
  const auto cell = [&](std::size_t row, const std::string& column) {
    const auto at = static_cast<std::size_t>(std::ranges::find(rows[0], column) - rows[0].begin());
    return at < rows[row].size() ? rows[row][at] : "no such column";
  };
  const nlohmann::json losses = series(r, "step", "loss");
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(cell(i + 1, "step"), std::to_string(10 * (i + 1)));
    EXPECT_EQ(static_cast<float>(std::stod(cell(i + 1, "loss"))), losses[i][1].get<float>());
    EXPECT_EQ(cell(i + 1, "evaluation_loss"), "");
  }
  EXPECT_EQ(cell(4, "step"), "30");
  EXPECT_EQ(cell(4, "loss"), "");
  EXPECT_EQ(std::stod(cell(4, "evaluation_accuracy")), r.result()["accuracy"].get<double>());
}

TEST_F(Readers, ATableThatFillsItsDiskEndsTheRunWithItsName) {
  const RunResult r = run({"--csv", "/dev/full"});
  EXPECT_EQ(r.exit, 1);
  EXPECT_NE(r.err.find("write --csv /dev/full: No space left on device"), std::string::npos) << r.err;
}

}  // namespace
}  // namespace cohaul::tests
