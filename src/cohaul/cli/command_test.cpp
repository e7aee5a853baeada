// Tests of the command as users see it: exit codes and output. Workers are shell scripts that answer as a worker does.

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cohaul/base/temporary_folder.h"
#include "cohaul/checkpoint/safetensors.h"
#include "cohaul/cli/child.h"
#include "cohaul/cli/demo_modes.h"
#include "cohaul/cli/resolve.h"

namespace cohaul::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAgrees = "#!/bin/sh\necho cohaul-worker\nexit 0\n";

/// A folder with a copy of the command, so that a test can choose which other programs are beside it.
class Command : public testing::Test {
 protected:
  void SetUp() override {
    auto made = TemporaryFolder::make("cohaul-command");
    ASSERT_TRUE(made.ok()) << made.status().message();
    own_ = std::move(*made);
    folder_ = own_.path();
    fs::copy_file(COHAUL_COMMAND, folder_ / "cohaul");
    put("cohaul-worker", kAgrees);
    put("job.toml", "[model]\nname='softmax'\n[data]\nname='fashion-mnist'\n[train]\nbatch=8\nsteps=3\n", false);
  }

  void put(const std::string& name, const std::string& text, bool executable = true) {
    std::ofstream(folder_ / name) << text;
    if (executable) fs::permissions(folder_ / name, fs::perms::owner_all);
  }
  std::string file(const std::string& name) const { return (folder_ / name).string(); }
  ChildResult run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), file("cohaul"));
    auto child = run_child(arguments, {.capture_out = true, .capture_err = true, .timeout = 60 * kSecond});
    EXPECT_TRUE(child.ok()) << child.status().message();
    return child.ok() ? *child : ChildResult{};
  }
  /// Expects exit code 2, one line on stderr and nothing on stdout.
  void refused(std::vector<std::string> arguments, const std::string& message) {
    const ChildResult child = run(std::move(arguments));
    EXPECT_EQ(child.exit, 2) << child.err;
    EXPECT_EQ(child.out, "");
    EXPECT_NE(child.err.find(message), std::string::npos) << child.err;
    EXPECT_EQ(std::ranges::count(child.err, '\n'), 1) << child.err;
  }
  void train_refused(std::vector<std::string> arguments, const std::string& message) {
    arguments.insert(arguments.begin(), {"train", file("job.toml")});
    refused(std::move(arguments), message);
  }

  TemporaryFolder own_;
  fs::path folder_;
};

TEST_F(Command, HelpAndVersion) {
  EXPECT_EQ(run({"--help"}).exit, 0);
  EXPECT_NE(run({"train", "--help"}).out.find("--record"), std::string::npos);
  EXPECT_EQ(run({"--version"}).out.rfind("cohaul ", 0), 0u);
  refused({}, "A subcommand is required");
  refused({"trian"},
          "cohaul: unknown command trian; did you mean train? Commands are: train, launch, demo, keys, checkpoint, "
          "kubernetes, bench");
  refused({"kubernetes", file("job.toml")}, "--image is required");
  refused({"checkpoint", "/nowhere"}, "cohaul: /nowhere: there is no checkpoint");
  refused({"train"}, "JOB.toml is required");
  refused({"launch", "--", "x"}, "--workers is required");
}

TEST_F(Command, DoctorTellsOfThisMachine) {
  put("cohaul-worker", "#!/bin/sh\necho \"cohaul-worker 9 $1\"\n");
  const auto report = nlohmann::json::parse(run({"doctor", "--json"}).out, nullptr, false);
  ASSERT_TRUE(report.is_object());
  EXPECT_EQ(report["worker"]["says"], "cohaul-worker 9 --version");
  EXPECT_NE(report["cohaul"]["instruction_set"], "");
  EXPECT_NE(report["system"]["kernel"], "");
  EXPECT_GT(report["processor"]["cores"], 0);
  EXPECT_GT(report["memory"]["total_bytes"], 0);
  put("cohaul-worker", "#!/bin/sh\necho 'libtorch_cpu.so: not found' >&2\nexit 127\n");
  const ChildResult broken = run({"doctor"});
  EXPECT_EQ(broken.exit, 1);
  EXPECT_NE(
      broken.out.find("wrong: the worker does not start: libtorch_cpu.so: not found\n         fix: name a LibTorch"),
      std::string::npos)
      << broken.out;
  refused({"doctor", "--workers", "0"}, "--workers");
}

TEST_F(Command, KeysAreDescribed) {
  const ChildResult some = run({"keys", "schedule.m*"});
  EXPECT_EQ(some.exit, 0);
  EXPECT_NE(some.out.find(
                "schedule.min = 0\n    smallest rate, as a part of optimizer.lr\n    a number from 0 to 1; only with "
                "schedule.name = cosine or restarts or plateau\n"),
            std::string::npos)
      << some.out;
  EXPECT_NE(run({"keys", "momentum"}).out.find("momentum of the gradients (0; lars 0.9)"), std::string::npos);
  EXPECT_NE(run({"keys"}).out.find("train.batch  (needed)"), std::string::npos);
  refused({"keys", "momentun"}, "no key holds momentun; did you mean momentum?");
}

TEST_F(Command, TheReadmeHasTheTableOfKeys) {
  std::ifstream in(COHAUL_README);
  const std::string readme((std::istreambuf_iterator<char>(in)), {});
  EXPECT_NE(readme.find("<!-- cohaul keys --markdown -->\n" + run({"keys", "--markdown"}).out), std::string::npos)
      << "put the output of `cohaul keys --markdown` into the README";
}

TEST_F(Command, TheReadmeHasAWholeJobFile) {
  std::ifstream in(COHAUL_README), job(COHAUL_JOBS "/whole_run.toml");
  const std::string readme((std::istreambuf_iterator<char>(in)), {}), text((std::istreambuf_iterator<char>(job)), {});
  ASSERT_FALSE(text.empty());
  EXPECT_NE(readme.find("```toml\n" + text + "```\n"), std::string::npos) << "put jobs/whole_run.toml into the README";
  EXPECT_TRUE(resolve({.job_file = COHAUL_JOBS "/whole_run.toml"}).ok());
}

TEST_F(Command, TrainRefuses) {
  refused({"train", file("none.toml")}, "cohaul: no job file " + file("none.toml"));
  train_refused({"--set", "train.btach=3"}, "cohaul: --set train.btach=3: unknown key; did you mean train.batch?");
  train_refused({"--wrokers", "3"}, "--wrokers");
  train_refused({"--workers", "two"}, "two");
  train_refused({"--set", "data.path=/no/such"}, "cohaul: --set: data.path = \"/no/such\": no such folder");
  train_refused({"--set", "train.init=/no/such"}, "cohaul: --set: train.init = \"/no/such\": ");
  train_refused({"--set", "train.init=" + file("job.toml")}, "job.toml");
  train_refused({"--set", "train.save=/no/such/x"}, "cohaul: --set: train.save = \"/no/such/x\": ");
  train_refused({"--record", "/no/such/x"}, "cohaul: --record /no/such/x: cannot be written: No such file");
  train_refused({"--csv", "/no/such/x"}, "cohaul: --csv /no/such/x: cannot be written: No such file");
  train_refused({"--csv", file("x"), "--record", file("x")},
                "cohaul: --csv " + file("x") + ": the record goes there; give the table a place of its own");
  train_refused({"--tensorboard", file("job.toml")}, "cohaul: --tensorboard " + file("job.toml") + ": ");
  fs::remove(folder_ / "cohaul-worker");
  train_refused({}, "cohaul: the worker " + file("cohaul-worker") + ": no such file");
}

TEST_F(Command, ProgramsThatAreNoWorkers) {
  train_refused({"--program", "/no/such"}, "cohaul: --program /no/such: no such file");
  train_refused({"--program", file("job.toml")}, "cannot be executed");
  train_refused({"--program", "/bin/true"}, "cohaul: --program /bin/true: is not a Cohaul worker");
  put("mute", "not a program");
  train_refused({"--program", file("mute")}, "is not a Cohaul worker");
}

TEST_F(Command, TheWorkersRefusalIsTheCommands) {
  // The worker gets the resolved job, with the places of its keys.
  put("cohaul-worker",
      "#!/bin/sh\necho cohaul-worker\ncp \"$3\" " + file("seen.json") + "\necho 'cohaul: no images' >&2\nexit 2\n");
  train_refused({"--record", file("r.jsonl")}, "cohaul: no images\n");
  std::ifstream in(file("seen.json"));
  auto job = config::Config::decode(std::string(std::istreambuf_iterator<char>(in), {}));
  ASSERT_TRUE(job.ok());
  EXPECT_EQ(job->where("train.batch"), file("job.toml") + ":6");
  const auto record = nlohmann::json::parse(std::ifstream(file("r.jsonl")));
  EXPECT_EQ(record["record"], "error");
  EXPECT_EQ(record["exit"], 2);
  EXPECT_EQ(record["message"], "no images");

  put("cohaul-worker", "#!/bin/sh\nexit 7\n");
  const ChildResult child = run({"train", file("job.toml")});
  EXPECT_EQ(child.exit, 1);
  EXPECT_NE(child.err.find("ended with exit code 7"), std::string::npos);
}

TEST_F(Command, Bench) {
  refused({"bench", "step"}, "cohaul: bench step: no such bench");
  refused({"bench", "../cohaul"}, "no such bench");
  put("cohaul-bench-step", "#!/bin/sh\necho \"$@\"\nexit 5\n");
  const ChildResult child = run({"bench", "step", "--set", "a=b", "--reps", "3"});
  EXPECT_EQ(child.out, "--set a=b --reps 3\n");
  EXPECT_EQ(child.exit, 5);
  refused({"bench", "ps"}, "there are: step");
}

TEST_F(Command, LaunchRefuses) {
  refused({"launch", "--workers", "2", "--", "./no/such"}, "cohaul: program ./no/such: no such file");
  refused({"launch", "--workers", "0", "--", "true"}, "--workers");
  refused({"launch", "--workers", "1", "--servers", "1", "--", "true"},
          "cohaul: the server " + file("cohaul-server") + ": no such file");
}

TEST_F(Command, LaunchRunsAnyProgram) {
  const ChildResult child = run({"launch", "--workers", "2", "--logs", file("logs"), "--", "/bin/sh", "-c",
                                 "echo $COHAUL_RANK of $COHAUL_WORKERS"});
  EXPECT_EQ(child.exit, 0) << child.err;
  EXPECT_EQ(child.out, "0 of 2\n");
  EXPECT_EQ(std::distance(fs::directory_iterator(file("logs")), {}), 2);
}

TEST_F(Command, TheFirstFailureIsNamed) {
  put("cohaul-worker",
      "#!/bin/sh\nif [ $1 = --check ]; then echo cohaul-worker; exit 0; fi\necho too bad >&2; exit 7\n");
  const ChildResult child = run({"train", file("job.toml"), "--record", "-"});
  EXPECT_EQ(child.exit, 1) << child.err;
  EXPECT_NE(child.err.find("worker 0"), std::string::npos) << child.err;
  const auto record = nlohmann::json::parse(child.out, nullptr, false);
  EXPECT_EQ(record["record"], "error") << child.out;
  EXPECT_EQ(record["role"], "worker");
  EXPECT_EQ(record["rank"], 0);
}

TEST_F(Command, AResultThatIsWrittenCounts) {
  put("cohaul-worker",
      "#!/bin/sh\nif [ $1 = --check ]; then echo cohaul-worker; exit 0; fi\n"
      "echo '{\"record\":\"result\",\"steps\":3}' >> $4\nkill -9 $$\n");
  EXPECT_EQ(run({"train", file("job.toml"), "--record", file("r.jsonl")}).exit, 0);
  EXPECT_EQ(nlohmann::json::parse(std::ifstream(file("r.jsonl")))["record"], "result");  // and nothing after it
}

TEST_F(Command, ChildrenAreFollowed) {
  auto slow = run_child({"/bin/sh", "-c", "echo a; sleep 30"}, {.capture_out = true, .timeout = kSecond / 10});
  ASSERT_TRUE(slow.ok());
  EXPECT_TRUE(slow->timed_out);
  EXPECT_EQ(slow->exit, 128 + 9);
  EXPECT_FALSE(run_child({"/no/such"}).ok());
}

TEST_F(Command, DemoReadsRecords) {
  put("r",
      "{\"record\":\"start\"}\nnonsense\n{\"record\":\"step\",\"staleness_mean\":1,\"staleness_max\":3}\n"
      "{\"record\":\"step\",\"staleness_mean\":2,\"staleness_max\":2}\n{\"record\":\"result\",\"loss\":0.5,"
      "\"accuracy\":0.8}\n",
      false);
  auto result = read_result(file("r"));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->loss, 0.5);
  EXPECT_EQ(result->accuracy, 0.8);
  EXPECT_EQ(result->staleness_mean, 1.5);
  EXPECT_EQ(result->staleness_max, 3);
  EXPECT_EQ(read_result(file("job.toml")).status().code(), Code::corrupt);
}

TEST_F(Command, DemoComparesParameters) {
  auto save = [&](const std::string& name, std::vector<float> w) {
    const checkpoint::TensorView t{
        .name = "w", .shape = {static_cast<std::int64_t>(w.size())}, .data = as_bytes(std::span<const float>(w))};
    EXPECT_TRUE(checkpoint::write(file(name), std::span(&t, 1)).ok());
  };
  save("a", {1, -4, 0});
  save("b", {1, -4, 1});
  save("c", {1, -4});
  EXPECT_EQ(*largest_difference(file("a"), file("a")), 0);
  EXPECT_EQ(*largest_difference(file("a"), file("b")), 0.25);
  EXPECT_EQ(largest_difference(file("a"), file("c")).status().code(), Code::corrupt);
}

TEST_F(Command, DemoModesAreJobsThatResolve) {
  EXPECT_EQ(demo_modes().size(), 6u);
  for (const DemoMode& mode : demo_modes()) {
    auto job =
        resolve({.job_file = COHAUL_JOBS "/softmax.toml", .sets = mode.sets, .workers = mode.workers, .cores = 2});
    ASSERT_TRUE(job.ok()) << mode.name << ": " << job.status().message();
    EXPECT_EQ(job->get_or<std::int64_t>("strategy.servers", 0), mode.servers) << mode.name;
  }
  for (const char* name : {"mlp", "cnn", "resnet18", "deep_plain", "deep_residual"})
    EXPECT_TRUE(resolve({.job_file = std::string(COHAUL_JOBS "/") + name + ".toml"}).ok()) << name;
}

}  // namespace
}  // namespace cohaul::cli
