#pragma once
// Runs under the real engines that start jobs, where these are installed.

#include <gtest/gtest.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "broken_files.h"
#include "train_runs.h"

namespace cohaul::tests {

constexpr double kLong = 120, kSoon = 6;
inline const Arguments kRun = set({"train.steps=60"});

struct Engine {
  std::string name, program;
  Arguments arguments;        // followed by the number of tasks
  std::string task_variable;  // variable with a task's number
};
inline void PrintTo(const Engine& engine, std::ostream* out) { *out << engine.name; }

class Engines : public testing::TestWithParam<Engine> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(GetParam().program))
      GTEST_SKIP() << GetParam().program << " is not installed: ./dev accept does it";
    if (GetParam().name == "Slurm" && std::getenv("SLURM_CONF") == nullptr)
      GTEST_SKIP() << "no cluster is set up: ./dev accept does it";
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    ::setenv("XDG_CONFIG_HOME", home_.path().c_str(), 1);  // without a secret
    job_ = write_softmax_job(home_.path(), 600);
  }
  std::unique_ptr<Running> start(int tasks, const Arguments& program, const Arguments& options = {}) const {
    Arguments all = GetParam().arguments;
    all.push_back(std::to_string(tasks));
    return std::make_unique<Running>(GetParam().program, all + options + program);
  }
  Arguments train(const std::vector<std::string>& pairs = {}) const {
    return Arguments{COHAUL_BIN "/cohaul", "train", job_, "--record", "{}/record", "--quiet"} + kRun + set(pairs);
  }
  /// Returns the parameters' hash of the same run under Cohaul's own launcher.
  std::string own(const std::vector<std::string>& pairs = {}) const {
    return tests::train(job_, Arguments{"--workers", "2"} + kRun + set(pairs)).hash();
  }
  /// Returns the processes of a program that `running` has started; task ≥ 0: of that task alone.
  std::vector<pid_t> processes(const Running& running, const std::string& program, int task = -1) const {
    std::vector<pid_t> out;
    const std::string wanted = GetParam().task_variable + "=" + std::to_string(task);
    for (const Found& f : running.descendants()) {
      const std::string place = "/proc/" + std::to_string(f.pid);
      if (read_file(place + "/comm") != program + "\n") continue;
      const std::string variables = '\0' + read_file(place + "/environ");
      if (task < 0 || variables.find('\0' + wanted + '\0') != std::string::npos) out.push_back(f.pid);
    }
    return out;
  }
  static pid_t parent_of(pid_t pid) {
    const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
    pid_t parent = 0;
    const std::size_t at = stat.rfind(')') + 4;  // ") S PARENT"
    (void)std::from_chars(stat.data() + at, stat.data() + stat.size(), parent);
    return parent;
  }
  /// Starts a run without end, and returns when it is training.
  std::unique_ptr<Running> start_long(int tasks, std::vector<std::string> pairs = {}) const {
    pairs.push_back("train.steps=10000000");
    auto running = start(tasks, train(pairs));
    EXPECT_TRUE(eventually(kLong, [&] { return has_stepped(*running); })) << running->err();
    return running;
  }
  TemporaryFolder home_ = fresh_folder();
  std::string job_;
};

inline const Engine kTorchrun{"torchrun", COHAUL_TORCHRUN, {"--no-python", "--nproc-per-node"}, "RANK"};
inline const Engine kSlurm{"Slurm", "/usr/bin/srun", {"-n"}, "SLURM_PROCID"};
inline const auto kEngines =
    testing::Values(Engine{"OpenMPI", "/usr/bin/mpirun.openmpi", {"--oversubscribe", "-np"}, "OMPI_COMM_WORLD_RANK"},
                    Engine{"MPICH", "/usr/bin/mpirun.mpich", {"-np"}, "PMI_RANK"}, kSlurm, kTorchrun);
constexpr auto kName = [](const auto& info) { return info.param.name; };

}  // namespace cohaul::tests
