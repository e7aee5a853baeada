// Tests of runs in which a process dies, stops, never comes or is slow, or which the user interrupts: the run ends, no process is left, and the error
// names which process and why. Real processes are killed and stopped at moments that a seed chooses.

#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "broken_files.h"
#include "cohaul/base/random.h"
#include "cohaul/checkpoint/safetensors.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

namespace fs = std::filesystem;

constexpr double kPeerTimeout = 2;
// A run that takes longer than this hangs, even on a slow machine.
constexpr double kLong = 60;
// From the first failure to the last process's end: twice the time that the launcher needs at most.
constexpr double kEnd = 10;
constexpr int kStepsToTheEnd = 200;

constexpr const char* kJob = R"([model]
name = "softmax"
[data]
name = "idx"
path = "data"
[train]
batch = 12
steps = 100000000
log_every = 10
save = "end.safetensors"
[job]
logs = "logs"
threads = 1
peer_timeout_s = 2
)";

enum class Moment { joining, mid_step, end };

/// What happens in one run; drawn from its seed.
struct Plan {
  int seed = 0, workers = 2, servers = 0, rank = 0, delay_ms = 0;
  std::string victim{}, mode{}, transport{};
  Moment moment{};
  bool kill = true;

  bool of_launcher() const { return victim == "launcher"; }
  std::string who() const { return of_launcher() ? "the launcher" : victim + " " + std::to_string(rank); }
};

Plan plan_of(int seed) {
  Random random(static_cast<std::uint64_t>(seed), 77);
  auto one_of = [&](std::vector<std::string> all) { return all[random.below(all.size())]; };
  Plan p;
  p.seed = seed;
  p.mode = one_of({"all_reduce", "sync", "async", "bounded"});
  p.transport = one_of({"auto", "tcp"});
  p.workers = 2 + static_cast<int>(random.below(2));
  p.servers = p.mode == "all_reduce" ? 0 : 1 + static_cast<int>(random.below(2));
  p.victim = p.servers > 0 ? one_of({"worker", "worker", "server", "server", "launcher"})
                           : one_of({"worker", "worker", "worker", "launcher"});
  if (!p.of_launcher()) p.rank = static_cast<int>(random.below(p.victim == "worker" ? p.workers : p.servers));
  p.kill = random.below(2) == 0;
  p.moment = static_cast<Moment>(random.below(3));
  // After the last step there are only an evaluation, a file and some goodbyes.
  p.delay_ms = static_cast<int>(random.below(p.moment == Moment::joining    ? 1000
                                             : p.moment == Moment::mid_step ? 200
                                                                            : 12));
  return p;
}

std::string name_of(const Plan& p) {
  const char* moments[] = {"joining", "mid_step", "end"};
  return "seed_" + std::to_string(p.seed) + "_" + (p.kill ? "kill_" : "stop_") + p.victim +
         (p.of_launcher() ? "" : "_" + std::to_string(p.rank)) + "_" + moments[static_cast<int>(p.moment)] + "_" +
         p.mode + "_" + p.transport + "_" + std::to_string(p.workers) + "_workers_" + std::to_string(p.servers) +
         "_servers";
}

Arguments settings(const Plan& p) {
  Arguments out = set({"job.workers=" + std::to_string(p.workers), "job.transport=" + p.transport});
  if (p.mode == "all_reduce") return out;
  out = out + set({"strategy.name=parameter_server", "strategy.servers=" + std::to_string(p.servers),
                   "strategy.consistency=" + p.mode});
  return p.mode == "bounded" ? out + set({"strategy.staleness=2"}) : out;
}

TemporaryFolder make_job() { return job_folder(kJob, {.images = 2000, .labels = 2000}); }

Arguments train_command(const Arguments& more) {
  return Arguments{"train", "{}/job.toml", "--quiet", "--record", "{}/record"} + more;
}

void pause_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

/// Returns the record so far; its last line may be incomplete.
std::string record_of(const Running& running) { return read_file(running.folder() + "/record"); }
bool has(const std::string& text, const std::string& what) { return text.find(what) != std::string::npos; }

nlohmann::json last_line(const Running& running) {
  const auto lines = json_lines(record_of(running));
  return lines.empty() ? nlohmann::json::object() : lines.back();
}
bool has_result(const Running& running) { return has(record_of(running), "\"record\":\"result\""); }

bool reached(const Running& running, int step) {
  return eventually(kLong, [&] {
    const std::string record = record_of(running);
    return has(record, "\"step\":" + std::to_string(step) + ",") || has(record, "\"error\"");
  });
}

/// Expects that no process is left after the time, and that no incomplete file has its final name.
void expect_clean(const Running& running, double limit_s) {
  EXPECT_TRUE(eventually(limit_s, [&] { return running.descendants().empty(); })) << [&] {
    std::string left = "left behind:";
    for (const Found& f : running.descendants()) left += " " + f.role + " " + std::to_string(f.rank);
    return left;
  }();
  const std::string saved = running.folder() + "/end.safetensors";
  if (!fs::exists(saved)) {
    EXPECT_FALSE(has_result(running));
    return;
  }
  const auto file = checkpoint::read(saved);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->tensors().size(), 2u);
}

/// Expects that the record's error and stderr name the process and the reason.
void expect_error(const Running& running, int exit, const std::string& who, const std::vector<std::string>& says) {
  const auto line = last_line(running);
  EXPECT_EQ(line.value("record", ""), "error") << record_of(running);
  EXPECT_EQ(line.value("exit", 0), exit);
  EXPECT_TRUE(has(running.err(), "cohaul: " + who)) << running.err();
  EXPECT_TRUE(has(line.value("message", ""), who)) << line;
  for (const std::string& s : says) EXPECT_TRUE(has(running.err(), s)) << s << " is not in: " << running.err();
}

class Fault : public testing::TestWithParam<int> {
 protected:
  /// Waits for the moment, and sends the signal.
  static void strike(const Plan& p, const Running& running) {
    const pid_t first = running.find(p.of_launcher() ? "worker" : p.victim, p.rank, kLong);
    ASSERT_NE(first, 0) << running.err();
    if (p.moment != Moment::joining) {
      ASSERT_TRUE(reached(running, p.moment == Moment::end ? kStepsToTheEnd : 30)) << running.err();
    }
    pause_ms(p.delay_ms);
    ::kill(p.of_launcher() ? running.pid() : first, p.kill ? SIGKILL : SIGSTOP);
  }

  static void expect_loss(const Plan& p, Running& running) {
    const auto exit = running.wait(kLong);
    ASSERT_TRUE(exit.has_value()) << "it hangs";
    if (has_result(running)) {
      EXPECT_EQ(*exit, 0) << running.err();
      EXPECT_EQ(last_line(running).value("record", ""), "result") << record_of(running);
      return;
    }
    EXPECT_EQ(*exit, 3) << running.err();
    std::vector<std::string> says;
    if (p.kill) says.push_back("killed by signal 9 (SIGKILL)");
    if (p.moment == Moment::mid_step) says.push_back("; last operation: ");
    expect_error(running, 3, p.who(), says);
    const auto line = last_line(running);
    EXPECT_EQ(line["role"], p.victim);
    EXPECT_EQ(line["rank"], p.rank);
    EXPECT_TRUE(p.moment != Moment::mid_step || line["operation"].is_string()) << line;
    EXPECT_TRUE(p.kill || has(running.err(), "no heartbeat for ") || has(running.err(), "did not join within "))
        << running.err();
  }

  static void expect_launcher_gone(const Plan& p, Running& running) {
    if (p.kill) {
      const auto exit = running.wait(kLong);
      EXPECT_TRUE(exit == 128 + SIGKILL || (exit == 0 && has_result(running))) << running.err();
      return;
    }
    EXPECT_TRUE(eventually(kPeerTimeout + kEnd, [&] { return running.descendants().empty(); }));
    ::kill(running.pid(), SIGCONT);
    const auto exit = running.wait(kLong);
    ASSERT_TRUE(exit.has_value()) << "it hangs";
    if (exit == 0) EXPECT_TRUE(has_result(running)) << running.err();
    else EXPECT_EQ(*exit, 3) << running.err();
    if (*exit == 3 && p.moment == Moment::mid_step) expect_error(running, 3, p.who(), {"it stood still for "});
  }
};

TEST_P(Fault, EndsTheRunAndIsNamed) {
  const Plan p = plan_of(GetParam());
  Arguments more = settings(p) + set({"job.join_timeout_s=10"});
  if (p.moment == Moment::end) more = more + set({"train.steps=" + std::to_string(kStepsToTheEnd)});
  Running running(train_command(more), make_job());
  strike(p, running);
  p.of_launcher() ? expect_launcher_gone(p, running) : expect_loss(p, running);
  expect_clean(running, p.of_launcher() ? kPeerTimeout : 0);
}

INSTANTIATE_TEST_SUITE_P(Seeded, Fault, testing::Range(1, 51),
                         [](const auto& info) { return name_of(plan_of(info.param)); });

TEST(Absent, AWorkerThatNeverJoinsIsNamed) {
  TemporaryFolder folder = make_job();
  fs::create_symlink(COHAUL_OWN_WORKER, folder.file("absent"));
  Running running(train_command({"--program", "{}/absent", "--workers", "3", "--set", "job.join_timeout_s=20"}),
                  std::move(folder));
  EXPECT_EQ(running.wait(kLong), 3) << running.err();
  expect_error(running, 3, "worker 1", {"worker 1: did not join within 20.0 s (job.join_timeout_s)"});
  EXPECT_EQ(last_line(running)["rank"], 1);
  expect_clean(running, 0);
}

class Slow : public testing::TestWithParam<std::string> {};

TEST_P(Slow, AWorkerIsNotLost) {
  Running running(train_command(set({"model.name=slow", "model.seconds=10", "train.steps=60", "job.workers=2"}) +
                                settings({.workers = 2, .servers = 1, .mode = GetParam(), .transport = "auto"}) +
                                Arguments{"--program", COHAUL_OWN_WORKER}),
                  make_job());
  EXPECT_EQ(running.wait(kLong), 0) << running.err();
  EXPECT_GT(running.seconds(), 10);
  EXPECT_TRUE(has_result(running));
  expect_clean(running, 0);
}

INSTANTIATE_TEST_SUITE_P(Worker, Slow, testing::Values("all_reduce", "bounded"),
                         [](const auto& info) { return info.param; });

class StandsStill : public testing::TestWithParam<std::string> {};

/// The worker lives and sends heartbeats, but makes no progress. The others wait to their deadline, some of them for those that wait.
TEST_P(StandsStill, AWorkerIsNamed) {
  Running running(train_command(set({"model.name=slow", "model.seconds=1000", "job.step_timeout_s=3"}) +
                                settings({.workers = 3, .servers = 2, .mode = GetParam(), .transport = "auto"}) +
                                Arguments{"--program", COHAUL_OWN_WORKER}),
                  make_job());
  EXPECT_EQ(running.wait(kLong), 3) << running.err();
  expect_error(running, 3, "worker 1",
               {"worker 1: stands still: it lives, but has said nothing for ",
                " waited to its deadline (job.step_timeout_s)", "; last operation: compute step "});
  EXPECT_EQ(last_line(running)["role"], "worker");
  EXPECT_EQ(last_line(running)["rank"], 1);
  expect_clean(running, 0);
}

INSTANTIATE_TEST_SUITE_P(Worker, StandsStill, testing::Values("all_reduce", "sync", "bounded"),
                         [](const auto& info) { return info.param; });

struct Interruption {
  std::string name;
  int signal;
  bool group;  // to the whole process group, as by a terminal's Ctrl-C
  Moment moment;
};
void PrintTo(const Interruption& i, std::ostream* out) { *out << i.name; }

class Interrupted : public testing::TestWithParam<Interruption> {};

TEST_P(Interrupted, AllEndWithinFiveSeconds) {
  const Interruption& i = GetParam();
  Running running(train_command(settings({.workers = 2, .servers = 1, .mode = "async", .transport = "auto"})),
                  make_job());
  // In the first phase the command asks a worker whether the job could run.
  if (i.moment == Moment::joining) ASSERT_TRUE(eventually(kLong, [&] { return !running.descendants().empty(); }));
  else ASSERT_TRUE(reached(running, 30)) << running.err();
  const double before = running.seconds();
  ::kill(i.group ? -running.pid() : running.pid(), i.signal);
  EXPECT_EQ(running.wait(kLong), 128 + i.signal) << running.err();
  EXPECT_LT(running.seconds() - before, 5);
  expect_error(running, 128 + i.signal, i.signal == SIGINT ? "interrupted (Ctrl-C)" : "ended by SIGTERM", {});
  expect_clean(running, 0);
}

INSTANTIATE_TEST_SUITE_P(By, Interrupted,
                         testing::Values(Interruption{"CtrlC", SIGINT, true, Moment::mid_step},
                                         Interruption{"Sigint", SIGINT, false, Moment::mid_step},
                                         Interruption{"Sigterm", SIGTERM, false, Moment::mid_step},
                                         Interruption{"CtrlCDuringTheCheck", SIGINT, true, Moment::joining},
                                         Interruption{"SigtermDuringTheCheck", SIGTERM, false, Moment::joining}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace cohaul::tests
