// cohaul bench allreduce: how long two workers of a host take for an all-reduce of 64 KiB and of 10 MB, bound to cores of their own (job.pin) and
// not, beside Gloo. Runs go in turn. Figures are medians of a run: the median run and the slowest one.

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <span>

#include "cohaul/cli/child.h"
#include "cohaul/collective/workers.h"
#include "cohaul/observe/format.h"
#include "cohaul/observe/table.h"
#include "cohaul/train/error.h"
#include "cohaul/train/run.h"
#include "median.h"
#include "training.h"

namespace cohaul::bench {
namespace {

using nlohmann::json;

struct Size {
  const char* name;
  std::size_t elements;
  int rounds;
};
constexpr Size kSizes[] = {{"64 KiB", 16 << 10, 2000}, {"10 MB", 2'500'000, 100}};

/// As a worker: all-reduces of each size. Worker 0 prints {"us": [median of each size]}.
void reduce(job::Job& job) {
  const auto workers = or_throw(collective::Workers::connect(job, "the bench", 0));
  collective::Group& group = workers->group();
  json medians = json::array();
  for (const Size& size : kSizes) {
    std::vector<float> data(size.elements);
    std::vector<double> times;
    for (int i = 0; i < size.rounds + size.rounds / 4; ++i) {
      std::ranges::fill(data, static_cast<float>(job.rank() + 1));
      or_throw(group.barrier());
      const Time begin = steady_clock().now();
      or_throw(group.all_reduce(collective::buffer(std::span<float>(data))));
      if (i >= size.rounds / 4) times.push_back(static_cast<double>(steady_clock().now() - begin) / kMicrosecond);
    }
    const float expected = static_cast<float>(job.world() * (job.world() + 1)) / 2;
    if (!std::ranges::all_of(data, [&](float x) { return x == expected; }))
      throw Error(corrupt("an all-reduce of " + std::string(size.name) + " has a wrong sum"));
    medians.push_back(median(times));
  }
  if (job.rank() == 0) std::printf("%s\n", json{{"us", medians}}.dump().c_str());
}

/// By size: medians in microseconds, as the command's first JSON line tells them.
Result<std::vector<double>> ask(const std::vector<std::string>& command) {
  COHAUL_ASSIGN(const cli::ChildResult child,
                cli::run_child(command, {.capture_out = true, .capture_err = true, .timeout = 120 * kSecond}));
  const json told = json::parse(child.out, nullptr, false);
  if (child.exit != 0 || !told.is_object() || !told.contains("us"))
    return internal(command[0] + ": exit " + std::to_string(child.exit) + ": " + child.err);
  return told.at("us").get<std::vector<double>>();
}

Result<std::string> run(const Arguments& arguments, const Note& note) {
  COHAUL_ASSIGN(const std::string bin, cli::own_folder());
  std::vector<std::string> ours{bin + "/cohaul", "launch", "--workers", "2", "--", bin + "/cohaul-bench-allreduce"};
  std::vector<std::string> pinned = ours;
  pinned.insert(pinned.begin() + 2, "--pin");
  std::vector<std::string> gloo{COHAUL_PEER_PYTHON, "-m", "torch.distributed.run",
                                "--nproc-per-node", "2",  COHAUL_PEERS "/gloo_allreduce.py"};
  for (const Size& s : kSizes) gloo.push_back(std::to_string(s.elements) + "x" + std::to_string(s.rounds));
  const std::pair<const char*, const std::vector<std::string>*> ways[] = {
      {"Cohaul, bound", &pinned}, {"Cohaul, not bound", &ours}, {"Gloo", &gloo}};
  std::vector<double> seen[std::size(ways)][std::size(kSizes)];
  for (int i = 0; i < arguments.reps; ++i) {
    for (std::size_t w = 0; w < std::size(ways); ++w) {
      COHAUL_ASSIGN(const std::vector<double> us, ask(*ways[w].second));
      if (us.size() != std::size(kSizes)) return corrupt(std::string(ways[w].first) + ": too few figures");
      for (std::size_t s = 0; s < us.size(); ++s) seen[w][s].push_back(us[s]);
    }
  }
  observe::Table table({"all-reduce, two workers", "", "median run", "slowest run", "beside Gloo"});
  for (std::size_t s = 0; s < std::size(kSizes); ++s) {
    const double peer = median(seen[2][s]);
    for (std::size_t w = 0; w < std::size(ways); ++w) {
      const double us = median(seen[w][s]), slowest = std::ranges::max(seen[w][s]);
      table.row({kSizes[s].name, ways[w].first, observe::fixed(us, 1) + " us", observe::fixed(slowest, 1) + " us",
                 observe::fixed(peer / us, 2) + "x"});
      note({{"bench", "allreduce"},
            {"size", kSizes[s].name},
            {"way", ways[w].first},
            {"us", us},
            {"slowest_us", slowest},
            {"ratio", peer / us}});
    }
  }
  return table.text();
}

}  // namespace
}  // namespace cohaul::bench

int main(int argc, char** argv) {
  using namespace cohaul::bench;
  if (std::getenv("COHAUL_RANK") != nullptr) return cohaul::train::run(reduce);
  return bench_main(argc, argv, "allreduce", "All-reduces between two workers of a host, beside Gloo.", {.reps = 5},
                    run);
}
