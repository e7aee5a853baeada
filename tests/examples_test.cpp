// Tests of the examples, built against the installed tree and started as users do: alone, by `cohaul launch`, by another launcher, and by `cohaul
// train --program`.

#include <gtest/gtest.h>

#include <fstream>

#include "train_runs.h"

namespace cohaul::tests {
namespace {

const std::string kExamples = COHAUL_INSTALLED "/examples/";
const std::string kInstalled = COHAUL_INSTALLED "/prefix/bin/cohaul";

struct Said {
  int exit = -1;
  std::string text;  // stdout and stderr
};

Said shell(const std::string& command) {
  const TemporaryFolder folder = fresh_folder();
  int status = std::system(("(" + command + ") >" + folder.file("said") + " 2>&1").c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(folder.file("said"))};
}

std::string with_limit(const std::string& command) { return "timeout -k 5 100 " + command; }

const char* const kOwnLoops[] = {"all_reduce", "sync", "async", "bounded"};

TEST(Examples, OwnLoopAlone) {
  Said said = shell(with_limit(kExamples + "own_loop single"));
  EXPECT_EQ(said.exit, 0) << said.text;
  EXPECT_NE(said.text.find("step 1,000  loss "), std::string::npos) << said.text;
  for (const char* strategy : kOwnLoops) {
    said = shell(with_limit(kExamples + "own_loop " + strategy));
    EXPECT_EQ(said.exit, 0) << strategy << ": " << said.text;
  }
}

TEST(Examples, OwnLoopLaunched) {
  for (const char* strategy : kOwnLoops) {
    bool servers = std::string(strategy) != "all_reduce";
    Said said = shell(with_limit(kInstalled + " launch --workers 2" + (servers ? " --servers 2" : "") + " -- " +
                                 kExamples + "own_loop " + strategy));
    EXPECT_EQ(said.exit, 0) << strategy << ": " << said.text;
    EXPECT_NE(said.text.find("step 1,000  loss "), std::string::npos) << strategy << ": " << said.text;
  }
}

// The launcher sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; servers are threads of the workers then.
TEST(Examples, OwnLoopUnderAnotherLauncher) {
  int port = 21000 + static_cast<int>(::getpid() % 8000);
  for (const char* strategy : kOwnLoops) {
    std::string command = "export WORLD_SIZE=3 MASTER_ADDR=127.0.0.1 MASTER_PORT=" + std::to_string(port++) + "; ";
    for (int rank = 1; rank < 3; ++rank)
      command += "RANK=" + std::to_string(rank) + " " + with_limit(kExamples + "own_loop " + strategy) + " & p" +
                 std::to_string(rank) + "=$!; ";
    command += "RANK=0 " + with_limit(kExamples + "own_loop " + strategy) + " && wait $p1 && wait $p2";
    Said said = shell(command);
    EXPECT_EQ(said.exit, 0) << strategy << ": " << said.text;
    EXPECT_NE(said.text.find("step 1,000  loss "), std::string::npos) << strategy << ": " << said.text;
  }
}

TEST(Examples, Quickstart) {
  for (const char* start : {"", "launch --workers 3 --servers 2 -- "}) {
    Said said = shell(with_limit((*start ? kInstalled + " " + start : "") + kExamples + "quickstart"));
    EXPECT_EQ(said.exit, 0) << said.text;
    EXPECT_NE(said.text.find("test  loss "), std::string::npos) << said.text;
    EXPECT_NE(said.text.find("accuracy 0.7"), std::string::npos) << said.text;
  }
}

TEST(Examples, Sums) {
  Said said = shell(with_limit(kExamples + "sums"));
  EXPECT_EQ(said.exit, 0) << said.text;
  EXPECT_NE(said.text.find("the sum over 1 workers is 1\n"), std::string::npos) << said.text;
  said = shell(with_limit(kInstalled + " launch --workers 3 -- " + kExamples + "sums"));
  EXPECT_EQ(said.exit, 0) << said.text;
  EXPECT_NE(said.text.find("the sum over 3 workers is 6\n"), std::string::npos) << said.text;
}

// A user's own model is trained by job files in every strategy; the synchronous ones give the bits of one process.
TEST(Examples, OwnModelInEveryStrategy) {
  const TemporaryFolder folder = fresh_folder();
  const std::string job = folder.file("job.toml");
  std::ofstream(job) << "model.name = 'two_layers'\nmodel.width = 32\ndata.name = 'fashion-mnist'\n"
                        "train = {batch = 100, steps = 200}\noptimizer = {name = 'sgd', lr = 0.1}\n"
                        "job.threads = 1\n";
  const Arguments program = {"--program", kExamples + "own_model"}, slices = set({"train.slices=2"});
  RunResult one = train(job, program + slices);
  ASSERT_EQ(one.exit, 0) << one.err;
  ASSERT_EQ(one.hash().size(), 64u);
  struct {
    std::vector<std::string> sets;
    bool synchronous;
  } const cases[] = {
      {{"strategy.name=all_reduce"}, true},
      {{"strategy.name=all_reduce", "job.transport=tcp"}, true},
      {{"strategy.name=parameter_server", "strategy.servers=2"}, true},
      {{"strategy.name=parameter_server", "strategy.consistency=async"}, false},
      {{"strategy.name=parameter_server", "strategy.consistency=bounded", "strategy.staleness=2"}, false},
  };
  for (const auto& c : cases) {
    RunResult run = train(job, program + slices + set(c.sets) + Arguments{"--workers", "2"});
    ASSERT_EQ(run.exit, 0) << c.sets[0] << ": " << run.err;
    EXPECT_GT(run.result().value("accuracy", 0.0), 0.6) << c.sets[0];
    if (c.synchronous) {
      EXPECT_EQ(run.hash(), one.hash()) << c.sets[0];
    }
  }
  RunResult tensor = train(job, program + set({"strategy.name=tensor"}) + Arguments{"--workers", "2"});
  EXPECT_EQ(tensor.exit, 2);
  EXPECT_NE(tensor.err.find("cohaul::parallel::Factory"), std::string::npos) << tensor.err;
}

// The installed command finds its own worker, servers and job files.
TEST(Examples, TheInstalledCommand) {
  Said said = shell(with_limit(kInstalled + " train " COHAUL_INSTALLED
                                            "/prefix/share/cohaul/jobs/softmax.toml --workers 2 --quiet --set "
                                            "train.steps=20 --set strategy.name=parameter_server"));
  EXPECT_EQ(said.exit, 0) << said.text;
  EXPECT_NE(said.text.find("20 steps  loss "), std::string::npos) << said.text;
}

}  // namespace
}  // namespace cohaul::tests
