// job.pin: several workers of a host have cores of their own, unless somebody else decides.

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>

#include "broken_files.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

constexpr double kLong = 120;

constexpr const char* kJob = R"([model]
name = "softmax"
[data]
name = "idx"
path = "data"
[train]
batch = 12
steps = 20
[job]
threads = 1
)";

/// Claims hold in one network namespace: a test has one of its own, in which no other test's job has cores.
class Pin : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("unshare --net ip link set lo up 2>/dev/null") != 0)
      GTEST_SKIP() << "a network namespace of its own needs root, and ip";
    if (count() < 2 || count() != ::sysconf(_SC_NPROCESSORS_ONLN))
      GTEST_SKIP() << "it needs two cores, and that this process may run on all";
  }
  static long count() {
    cpu_set_t set;
    return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
  }
  static std::string train(const std::string& more, const std::string& record = "record") {
    return COHAUL_BIN "/cohaul train {}/job.toml --quiet --record {}/" + record + " " + more;
  }
  static Running alone(const std::string& script) {
    return Running("/usr/bin/unshare", {"--net", "/bin/bash", "-c", "ip link set lo up; " + script}, job_folder(kJob));
  }
  /// On which each of the processes may run, in the record's order.
  static std::vector<std::string> cpus(const Running& run, const std::string& record = "record") {
    std::vector<std::string> out;
    for (const nlohmann::json& j : json_lines(read_file(run.folder() + "/" + record)))
      if (j["record"] == "process") out.push_back(j.value("role", "") + " " + j.value("cpus", ""));
    return out;
  }
  static std::string all() { return "0-" + std::to_string(count() - 1); }
};
using List = std::vector<std::string>;

TEST_F(Pin, TwoWorkersHaveACoreEach) {
  Running run = alone(train("--workers 2"));
  EXPECT_EQ(run.wait(kLong), 0) << run.err();
  EXPECT_EQ(cpus(run), (List{"worker 0", "worker 1"}));
}

TEST_F(Pin, OneWorkerAndOneThatIsNotToBeBoundHaveAll) {
  Running run = alone(train("--workers 1", "one") + " && " + train("--workers 2 --set job.pin=false", "two"));
  EXPECT_EQ(run.wait(kLong), 0) << run.err();
  EXPECT_EQ(cpus(run, "one"), List{"worker " + all()});
  EXPECT_EQ(cpus(run, "two"), (List{"worker " + all(), "worker " + all()}));
}

TEST_F(Pin, MoreThanFitAreNotBound) {
  const std::string workers = std::to_string(count() + 1);
  Running run = alone(train("--workers " + workers + " --set train.batch=" + workers));
  EXPECT_EQ(run.wait(kLong), 0) << run.err();
  EXPECT_EQ(cpus(run), List(static_cast<std::size_t>(count() + 1), "worker " + all()));
}

TEST_F(Pin, TheUsersOwnMaskStays) {
  Running run = alone("taskset -c 1 " + train("--workers 2"));
  EXPECT_EQ(run.wait(kLong), 0) << run.err();
  EXPECT_EQ(cpus(run), (List{"worker 1", "worker 1"}));
}

TEST_F(Pin, TwoJobsNeverHaveTheSameCore) {
  const std::string workers = std::to_string(count());
  Running run =
      alone(train("--workers " + workers + " --set train.batch=" + workers + " --set train.steps=100000", "first") +
            " & first=$!; until grep -q '\"step\"' {}/first; do sleep 0.05; done; " + train("--workers 2", "second") +
            "; code=$?; kill $first; wait $first; exit $code");
  EXPECT_EQ(run.wait(kLong), 0) << run.err();
  for (const std::string& of : cpus(run, "first")) EXPECT_EQ(of.find('-'), std::string::npos) << of;
  EXPECT_EQ(cpus(run, "second"), (List{"worker " + all(), "worker " + all()}));
}

}  // namespace
}  // namespace cohaul::tests
