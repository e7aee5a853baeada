// Kills processes of runs at random moments, also while a checkpoint is written, and continues with other numbers of workers and servers. The runs
// end with the parameters of a run that was not interrupted. COHAUL_KILLS: the number of such runs.

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "broken_files.h"
#include "cohaul/base/random.h"
#include "cohaul/checkpoint/folder.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

namespace fs = std::filesystem;

constexpr double kLong = 120;
constexpr int kKillsMax = 4;  // most kills of one run

constexpr const char* kJob = R"([model]
name = "softmax"
[data]
name = "idx"
path = "data"
[train]
batch = 12
steps = 1500
slices = 6
log_every = 500
checkpoint = "checkpoints"
checkpoint_every = 25
ema = 0.9
[optimizer]
name = "adam"
lr = 0.01
clip_norm = 1
[[optimizer.group]]
match = ["*bias"]
lr = 0.1
[schedule]
name = "cosine"
warmup_steps = 100
[job]
threads = 1
)";

int runs() {
  const char* wanted = std::getenv("COHAUL_KILLS");
  return wanted ? std::atoi(wanted) : 10;
}

void write_job(const std::string& folder) {
  fs::create_directories(folder);
  write_file(folder + "/job.toml", kJob);
  write_data(folder + "/data", {.images = 2000, .labels = 2000});
}

/// Returns random arguments for a part of the run.
Arguments draw_way(Random& random) {
  const int workers = 1 + static_cast<int>(random.below(4));
  Arguments out = set({"job.workers=" + std::to_string(workers)});
  if (random.below(2) == 0)
    return out + set({"strategy.name=parameter_server", "strategy.servers=" + std::to_string(1 + random.below(2))});
  return random.below(3) == 0 ? out + set({"job.transport=tcp"}) : out;
}

/// Starts the command, and kills one of its processes after a while: a worker, a server or the launcher, at any moment or soon after it has written a
/// checkpoint. Returns whether the run had ended before.
bool run_and_kill(Random& random, const Arguments& command, const std::string& checkpoints, std::string& said) {
  const std::vector<std::int64_t> before = checkpoint::list(checkpoints);
  Running running(command);
  const bool of_launcher = random.below(5) == 0, has_written = random.below(2) == 0;
  const int delay_ms = static_cast<int>(random.below(has_written ? 300 : 1'500));
  const auto is_over = [&] { return running.wait(0).has_value(); };
  if (has_written) (void)eventually(kLong, [&] { return is_over() || checkpoint::list(checkpoints) != before; });
  const bool ended = eventually(delay_ms / 1e3, is_over);
  if (!ended) {
    const std::vector<Found> all = running.descendants();
    const pid_t victim = of_launcher || all.empty() ? running.pid() : all[random.below(all.size())].pid;
    ::kill(victim, SIGKILL);
  }
  const auto exit = running.wait(kLong);
  EXPECT_TRUE(exit.has_value()) << "it hangs";
  EXPECT_TRUE(eventually(10, [&] { return running.descendants().empty(); })) << "somebody is left behind";
  said = running.err();
  return exit == 0;
}

TEST(Resume, KilledRunsEndAsTheOneThatNobodyKilled) {
  TemporaryFolder home = fresh_folder();
  write_job(home.file("whole"));
  const RunResult whole = train(home.file("whole") + "/job.toml", {});
  ASSERT_EQ(whole.exit, 0) << whole.err;
  int kills = 0, resumed = 0;
  for (int run = 0; run < runs(); ++run) {
    Random random(static_cast<std::uint64_t>(run), 4711);
    const std::string folder = home.file("run" + std::to_string(run)), job = folder + "/job.toml";
    write_job(folder);
    std::string said;
    for (int k = 0; k < kKillsMax; ++k) {
      if (run_and_kill(random, Arguments{"train", job, "--quiet"} + draw_way(random), folder + "/checkpoints", said))
        break;
      ++kills;
    }
    const bool goes_on = !checkpoint::find(folder + "/checkpoints").path.empty();
    resumed += goes_on;
    const RunResult rest = train(job, draw_way(random));
    ASSERT_EQ(rest.exit, 0) << rest.err;
    EXPECT_EQ(rest.hash(), whole.hash()) << "run " << run << "\n" << said;
    EXPECT_EQ(rest.result().value("steps", 0), 1500);
    fs::remove_all(folder);
  }
  EXPECT_GE(kills, runs());
  EXPECT_GE(resumed * 2, runs()) << "most runs had a checkpoint to go on from";
  std::printf("%d runs, %d kills, %d went on from a checkpoint\n", runs(), kills, resumed);
}

}  // namespace
}  // namespace cohaul::tests
