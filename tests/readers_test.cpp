// Reads what a run writes with the programs that it is for: TensorBoard's and safetensors' Python packages. The table is read here. The output of
// `cohaul kubernetes` is read as YAML, and its pods are run as processes.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
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
  static bool there() {
    return fs::exists(COHAUL_READERS "/tensorboard") && fs::exists(COHAUL_READERS "/safetensors") &&
           fs::exists(COHAUL_READERS "/yaml");
  }
  /// Returns the ConfigMap and the JobSet.
  nlohmann::json manifest(const std::string& job, const Arguments& more) {
    Running command(Arguments{"kubernetes", job, "--image", "cohaul"} + more);
    EXPECT_EQ(command.wait(60), 0) << command.err();
    write_file(home_.file("manifest.yaml"), command.out());
    return read_back("yaml", home_.file("manifest.yaml"));
  }

  TemporaryFolder home_ = fresh_folder();
};

constexpr const char* kNotThere = "the Python packages of cmake/readers.txt are not there: ./dev setup installs them";

/// Returns [[step, value], …] of a record's events, with values of 32 bits.
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
  ASSERT_EQ(rows.size(), 5u);  // column names, three steps, one evaluation
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

TEST_F(Readers, AManifestHasTheJobFileAsItIs) {
  if (!there()) GTEST_SKIP() << kNotThere;
  const std::string job = "[model]\nname='softmax'\n[data]\nname='fashion-mnist'\n[train]\nbatch=8\nsteps=3";
  for (const std::string& text :
       {job, job + "\n", job + "\n\n\n", job + "\n  ", job + " # \tÜ: \"%\" '$(HOME)' |\n", "\n" + job + "\n",
        "  # indented\n\t" + job + "\n", "# a\n\n   \n" + job + "\n", "# ---\r\n" + job + "\r\n"}) {
    write_file(home_.file("my_job.toml"), text);
    const nlohmann::json documents = manifest(home_.file("my_job.toml"), {"--workers", "2"});
    ASSERT_EQ(documents.size(), 2u);
    EXPECT_EQ(documents[0]["data"]["job.toml"], text);
    EXPECT_EQ(documents[0]["metadata"]["name"], "my-job");
  }
}

TEST_F(Readers, AManifestSaysWhatKubernetesNeeds) {
  if (!there()) GTEST_SKIP() << kNotThere;
  write_file(home_.file("job.toml"),
             "[model]\nname='softmax'\n[data]\nname='fashion-mnist'\n[train]\nbatch=8\nsteps=3\n"
             "checkpoint='/on'\n[job]\nrestarts=5\n");
  const nlohmann::json documents =
      manifest(home_.file("job.toml"), {"--workers", "3", "--name", "true", "--volume", "null:/on", "--cpus", "2"});
  const nlohmann::json &job_set = documents[1], &spec = job_set["spec"],
                       &job = spec["replicatedJobs"][0]["template"]["spec"];
  EXPECT_EQ(documents[0]["kind"], "ConfigMap");
  EXPECT_EQ(job_set["apiVersion"], "jobset.x-k8s.io/v1alpha2");
  EXPECT_EQ(job_set["metadata"]["name"], "true");  // a text, though YAML could read it as a boolean
  EXPECT_EQ(spec["failurePolicy"]["maxRestarts"], 5);
  EXPECT_EQ(spec["failurePolicy"]["rules"][0]["action"], "FailJobSet");
  EXPECT_EQ(spec["replicatedJobs"].size(), 1u);
  EXPECT_EQ(job["completionMode"], "Indexed");
  EXPECT_EQ(job["completions"], 3);
  EXPECT_EQ(job["parallelism"], 3);
  EXPECT_EQ(job["backoffLimit"], 0);
  EXPECT_EQ(job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"], nlohmann::json::array({2}));
  const nlohmann::json& pod = job["template"]["spec"];
  EXPECT_EQ(pod["restartPolicy"], "Never");
  EXPECT_EQ(pod["volumes"][0]["configMap"]["name"], "true");
  EXPECT_EQ(pod["volumes"][1]["persistentVolumeClaim"]["claimName"], "null");
  EXPECT_EQ(pod["containers"][0]["volumeMounts"][1]["mountPath"], "/on");
  EXPECT_EQ(pod["containers"][0]["volumeMounts"][1]["name"], pod["volumes"][1]["name"]);
  EXPECT_EQ(pod["containers"][0]["resources"]["requests"]["cpu"], "2");
}

/// Each pod is a process here, with the manifest's command and environment, and with what Kubernetes adds.
TEST_F(Readers, PodsTrainAsTheManifestSays) {
  if (!there()) GTEST_SKIP() << kNotThere;
  const std::string end = home_.file("end.safetensors");
  const Arguments sets =
      set({"strategy.name=parameter_server", "strategy.servers=1", "train.checkpoint=" + home_.file("c"),
           "train.save=" + end, "data.path=" + home_.file("data")});
  ASSERT_EQ(run(Arguments{"--workers", "2"} + sets).exit, 0);
  const nlohmann::json alone = read_back("tensors", end);
  fs::remove_all(home_.file("c"));
  fs::remove(end);

  const nlohmann::json documents =
      manifest(home_.file("job.toml"), Arguments{"--workers", "2", "--volume", "home:" + home_.path()} + sets);
  const nlohmann::json& container =
      documents[1]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0];
  std::vector<std::unique_ptr<Running>> pods;
  for (int index = 0; index < 3; ++index) {
    Arguments all{"PATH=" COHAUL_BIN, "JOB_COMPLETION_INDEX=" + std::to_string(index)};
    for (const nlohmann::json& variable : container["env"]) {
      const std::string name = variable["name"];
      std::string value = variable.contains("value") ? std::string(variable["value"]) : std::string(40, '7');
      if (name == "COHAUL_MEET_AT") value = "127.0.0.1";  // in place of the name in the cluster
      all.push_back(name + "=" + value);
    }
    for (const std::string word : container["command"])
      all.push_back(word == "/etc/cohaul/job.toml" ? home_.file("job.toml") : word);
    pods.push_back(std::make_unique<Running>("/usr/bin/env", all));
  }
  for (const auto& pod : pods) EXPECT_EQ(pod->wait(60), 0) << pod->err();
  EXPECT_EQ(read_back("tensors", end), alone);
}

TEST_F(Readers, ATableThatFillsItsDiskEndsTheRunWithItsName) {
  const RunResult r = run({"--csv", "/dev/full"});
  EXPECT_EQ(r.exit, 1);
  EXPECT_NE(r.err.find("write --csv /dev/full: No space left on device"), std::string::npos) << r.err;
}

}  // namespace
}  // namespace cohaul::tests
