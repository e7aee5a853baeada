// cohaul bench checkpoint: what checkpoints cost two workers that train the mlp. It measures how long a step is delayed, compared with copying as
// much memory; how much slower training is with a checkpoint every 50 steps; and how much later the first step comes when a run continues.
//
// The compared runs alternate; figures are medians.

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstring>
#include <thread>

#include "cohaul/base/temporary_folder.h"
#include "cohaul/observe/format.h"
#include "cohaul/observe/table.h"
#include "median.h"
#include "training.h"

namespace cohaul::bench {
namespace {

using nlohmann::json;
using Sets = std::vector<std::string>;

constexpr int kSteps = 400, kEvery = 50;

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Returns how long two workers take to copy so many bytes at the same time. As in training, the source was written by the last step, and the
/// destination is in no cache.
double copy_seconds(std::size_t bytes) {
  constexpr int kCopies = 9;
  constexpr std::size_t kBetween = std::size_t{512} << 20;
  std::vector<double> seconds;
  std::barrier both(2);
  const auto copies = [&](bool measures) {
    std::vector<std::byte> from(bytes), to(bytes), between(kBetween);
    for (int i = 0; i < kCopies; ++i) {
      std::ranges::fill(between, static_cast<std::byte>(i));
      std::ranges::fill(from, static_cast<std::byte>(i));
      both.arrive_and_wait();
      const double begun = now_s();
      std::memcpy(to.data(), from.data(), bytes);
      const volatile std::byte seen = to[bytes / 2];  // otherwise the compiler could remove the copy
      static_cast<void>(seen);
      if (measures) seconds.push_back(now_s() - begun);
    }
  };
  std::thread other(copies, false);
  copies(true);
  other.join();
  return median(seconds);
}

struct Samples {
  std::vector<double> held, copies, slower, later;
};

/// Returns the time of a run that continues and does one more step, without the test set: start, resume and one step.
Result<double> seconds_of_one_step(const Sets& sets, int first) {
  Sets all = sets;
  all.push_back("train.steps=" + std::to_string(first + 1));
  const double begun = now_s();
  COHAUL_TRY(train("mlp", 2, all).status());
  return now_s() - begun;
}

Status measure(const Sets& sets, Samples& out) {
  COHAUL_ASSIGN(const TemporaryFolder folder, TemporaryFolder::make("cohaul-bench"));
  Sets size = sets;
  size.push_back("train.steps=" + std::to_string(kSteps));
  const Sets saves{"train.checkpoint=" + folder.file("checkpoints"),
                   "train.checkpoint_every=" + std::to_string(kEvery)};
  Sets both = size;
  both.insert(both.end(), saves.begin(), saves.end());
  COHAUL_ASSIGN(const std::vector<json> plain, train("mlp", 2, size));
  COHAUL_ASSIGN(const std::vector<json> saving, train("mlp", 2, both));
  const json a = lines_of(plain, "result").front(), b = lines_of(saving, "result").front();
  if (a.at("parameters_sha256") != b.at("parameters_sha256"))
    return corrupt("a run with checkpoints has other parameters than one without");
  out.slower.push_back(a.at("samples_per_s").get<double>() / b.at("samples_per_s").get<double>());
  const std::vector<json> written = lines_of(saving, "checkpoint");
  if (written.size() != kSteps / kEvery) return corrupt("there are " + std::to_string(written.size()) + " checkpoints");
  for (std::size_t i = 0; i + 1 < written.size(); ++i) out.held.push_back(written[i].at("held_s"));
  out.copies.push_back(copy_seconds(written[0].at("bytes").get<std::size_t>() / 2));
  COHAUL_ASSIGN(const double fresh, seconds_of_one_step(sets, 0));
  Sets goes_on = sets;
  goes_on.insert(goes_on.end(), {saves[0], "train.keep=1"});
  COHAUL_ASSIGN(const double resumed, seconds_of_one_step(goes_on, kSteps));
  out.later.push_back(resumed - fresh);
  return {};
}

Result<std::string> run(const Arguments& arguments, const Note& note) {
  Samples samples;
  for (int i = 0; i < arguments.reps; ++i) COHAUL_TRY(measure(arguments.sets, samples));
  const double held = median(samples.held), copy = median(samples.copies);
  const json figures{{"bench", "checkpoint"},
                     {"held_ms", 1e3 * held},
                     {"copy_ms", 1e3 * copy},
                     {"held_by_copy", held / copy},
                     {"slower_percent", 100 * (median(samples.slower) - 1)},
                     {"one_step_later_s", median(samples.later)}};
  observe::Table table({"what checkpoints cost", "", "beside"});
  table.row({"a step is held up, ms", observe::fixed(1e3 * held, 2),
             "a copy, " + observe::fixed(1e3 * copy, 2) + ": " + observe::fixed(held / copy, 2) + "x"});
  table.row({"training with one every " + std::to_string(kEvery) + " steps",
             observe::fixed(figures.at("slower_percent"), 1) + " %", "training without"});
  table.row(
      {"a run of one step that goes on, s", observe::fixed(figures.at("one_step_later_s"), 2), "one from the start"});
  note(figures);
  return table.text();
}

}  // namespace
}  // namespace cohaul::bench

int main(int argc, char** argv) {
  using namespace cohaul::bench;
  return bench_main(argc, argv, "checkpoint", "What checkpoints cost.", {.reps = 5}, run);
}
