// cohaul bench step: a data-parallel step of two workers with momentum, compared with PyTorch's DistributedDataParallel over Gloo.
//
// Cohaul's runs are `cohaul train` on Fashion-MNIST and include reading samples; the peer's inputs are in memory. One thread a process, equal nets,
// equal samples a step. Runs alternate; figures are medians of the runs' median steps. Cohaul's result is verified by its bits (two workers = one
// process with two slices), the peer's by its number of parameters.

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cohaul/cli/child.h"
#include "cohaul/observe/format.h"
#include "cohaul/observe/table.h"
#include "median.h"
#include "training.h"

namespace cohaul::bench {
namespace {

using nlohmann::json;

struct Case {
  const char* model;
  int batch;  // of one process
  int steps, warmup;
  std::int64_t parameters;
};
constexpr Case kCases[] = {
    {"softmax", 100, 2000, 200, 7850}, {"mlp", 64, 200, 20, 1863690}, {"cnn", 64, 40, 8, 1663370}};

/// Returns the result line of a run of Cohaul.
Result<json> ours(const Case& c, int workers, const std::vector<std::string>& sets) {
  std::vector<std::string> all{"train.slices=2",
                               "train.batch=" + std::to_string(2 * c.batch),
                               "train.steps=" + std::to_string(c.steps),
                               "job.threads=1",
                               "optimizer.name=sgd",
                               "optimizer.lr=0.01",
                               "optimizer.momentum=0.9"};
  all.insert(all.end(), sets.begin(), sets.end());
  COHAUL_ASSIGN(const std::vector<json> record, train(c.model, workers, all));
  return lines_of(record, "result").front();
}

Result<json> peer(const Case& c) {
  const std::vector<std::string> argv{COHAUL_PEER_PYTHON, COHAUL_PEERS "/pytorch_ddp.py",
                                      "--model",          c.model,
                                      "--world",          "2",
                                      "--steps",          std::to_string(c.steps),
                                      "--warmup",         std::to_string(c.warmup),
                                      "--optimizer",      "momentum"};
  COHAUL_ASSIGN(const cli::ChildResult child,
                cli::run_child(argv, {.capture_out = true, .capture_err = true, .timeout = 600 * kSecond}));
  json result = json::parse(child.out, nullptr, false);
  if (child.exit != 0 || !result.is_object()) return internal(std::string("the peer, ") + c.model + ": " + child.err);
  if (result.value("parameters", std::int64_t{0}) != c.parameters)
    return corrupt(std::string("the peer's ") + c.model + " is another net");
  return result;
}

/// Measures one row: alternating runs. Checks Cohaul's result against the bits of one process.
Result<json> measure(const Case& c, int reps, const std::vector<std::string>& sets) {
  std::vector<double> mine, theirs;
  std::string name;
  COHAUL_ASSIGN(const json reference, ours(c, 1, sets));
  for (int i = 0; i < reps; ++i) {
    COHAUL_ASSIGN(const json a, ours(c, 2, sets));
    if (a.at("parameters_sha256") != reference.at("parameters_sha256"))
      return corrupt(std::string(c.model) + ": two workers and one process have different parameters");
    mine.push_back(a.at("step_ms_median"));
    COHAUL_ASSIGN(const json b, peer(c));
    theirs.push_back(b.at("step_ms"));
    name = b.value("peer", "");
  }
  return json{{"bench", "step"}, {"case", c.model},           {"ours_ms", median(mine)},
              {"peer", name},    {"peer_ms", median(theirs)}, {"ratio", median(theirs) / median(mine)}};
}

Result<std::string> run(const Arguments& arguments, const Note& note) {
  observe::Table table({"model", "Cohaul ms", "DDP ms", "ratio"});
  for (const Case& c : kCases) {
    COHAUL_ASSIGN(const json r, measure(c, arguments.reps, arguments.sets));
    table.row({c.model, observe::fixed(r.at("ours_ms"), 3), observe::fixed(r.at("peer_ms"), 3),
               observe::fixed(r.at("ratio"), 3) + "x"});
    note(r);
  }
  return table.text();
}

}  // namespace
}  // namespace cohaul::bench

int main(int argc, char** argv) {
  using namespace cohaul::bench;
  return bench_main(argc, argv, "step", "A data-parallel step of two workers, beside PyTorch DDP over Gloo.",
                    {.reps = 3}, run);
}
