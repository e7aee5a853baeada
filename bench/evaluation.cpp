// cohaul bench evaluation: how much faster two workers evaluate the cnn than one, beside how much more two processes do that know nothing of each
// other. Figures are medians of the evaluations in all runs, which go in turn; the losses are equal to the bit.

#include <CLI/CLI.hpp>
#include <fstream>
#include <future>
#include <iostream>

#include "cohaul/base/exit_code.h"
#include "cohaul/observe/table.h"
#include "median.h"
#include "training.h"

namespace cohaul::bench {
namespace {

using nlohmann::json;

struct Seen {
  std::vector<double> seconds;
  json losses = json::array();
};

/// The evaluations of one run.
Result<Seen> evaluate(int workers) {
  COHAUL_ASSIGN(const std::vector<json> record,
                train("cnn", workers,
                      {"train.slices=2", "train.batch=16", "train.steps=4", "train.eval_every=1", "job.threads=1"}));
  Seen out;
  for (const json& e : lines_of(record, "evaluation")) {
    out.seconds.push_back(e.at("seconds"));
    out.losses.push_back(e.at("loss"));
  }
  if (out.seconds.size() < 4) return corrupt("a run has " + std::to_string(out.seconds.size()) + " evaluations");
  out.seconds.erase(out.seconds.begin());  // the first one warms up
  return out;
}

struct Samples {
  std::vector<double> one, two, apart;
};

Status measure(Samples& out) {
  COHAUL_ASSIGN(const Seen one, evaluate(1));
  COHAUL_ASSIGN(const Seen two, evaluate(2));
  if (one.losses != two.losses) return corrupt("two workers evaluate otherwise than one");
  auto other = std::async(std::launch::async, [] { return evaluate(1); });
  COHAUL_ASSIGN(const Seen here, evaluate(1));
  COHAUL_ASSIGN(const Seen there, other.get());
  const auto add = [](std::vector<double>& to, const Seen& seen) {
    to.insert(to.end(), seen.seconds.begin(), seen.seconds.end());
  };
  add(out.one, one), add(out.two, two), add(out.apart, here), add(out.apart, there);
  return {};
}

int run(int reps, const std::string& file) {
  Samples samples;
  for (int i = 0; i < reps; ++i) {
    if (const Status measured = measure(samples); !measured.ok()) {
      std::cerr << "cohaul: bench evaluation: " << measured.message() << "\n";
      return exit_code(measured.code());
    }
  }
  const double one = median(samples.one), two = median(samples.two), apart = median(samples.apart);
  const double ours = one / two, cores = 2 * one / apart;
  const json figures{{"bench", "evaluation"}, {"one_s", one},   {"two_s", two},
                     {"speed_up", ours},      {"cores", cores}, {"ratio", ours / cores}};
  observe::Table table({"evaluation of the cnn", "s", "speed-up"});
  table.row({"one worker", fixed(one, 3), "1.00x"});
  table.row({"two workers", fixed(two, 3), fixed(ours, 2) + "x"});
  table.row({"two processes, each all of it", fixed(apart, 3), fixed(cores, 2) + "x"});
  table.row({"two workers beside what the cores give", "", fixed(ours / cores, 2) + "x"});
  std::cout << table.text();
  if (!file.empty() && !(std::ofstream(file) << figures.dump() << "\n")) {
    std::cerr << "cohaul: --json " << file << ": cannot be written\n";
    return kUsersMistake;
  }
  return kDone;
}

}  // namespace
}  // namespace cohaul::bench

int main(int argc, char** argv) {
  int reps = 3;
  std::string json;
  CLI::App app("Evaluation by two workers, beside two processes that know nothing of each other.");
  app.add_option("--reps", reps, "rounds")->check(CLI::Range(1, 100));
  app.add_option("--json", json, "also write the figures to this file");
  CLI11_PARSE(app, argc, argv);
  return cohaul::bench::run(reps, json);
}
