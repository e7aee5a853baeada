// cohaul bench evaluation: how much faster two workers evaluate the cnn than one, compared with two independent processes. Figures are medians of the
// evaluations in all runs, which alternate; the losses are equal to the bit.

#include <future>

#include "cohaul/observe/format.h"
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

/// Returns the evaluations of one run.
Result<Seen> evaluate(int workers, const std::vector<std::string>& sets) {
  std::vector<std::string> all{"train.slices=2", "train.batch=16", "train.steps=4", "train.eval_every=1",
                               "job.threads=1"};
  all.insert(all.end(), sets.begin(), sets.end());
  COHAUL_ASSIGN(const std::vector<json> record, train("cnn", workers, all));
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

Status measure(const std::vector<std::string>& sets, Samples& out) {
  COHAUL_ASSIGN(const Seen one, evaluate(1, sets));
  COHAUL_ASSIGN(const Seen two, evaluate(2, sets));
  if (one.losses != two.losses) return corrupt("two workers evaluate otherwise than one");
  auto other = std::async(std::launch::async, [&] { return evaluate(1, sets); });
  COHAUL_ASSIGN(const Seen here, evaluate(1, sets));
  COHAUL_ASSIGN(const Seen there, other.get());
  const auto add = [](std::vector<double>& to, const Seen& seen) {
    to.insert(to.end(), seen.seconds.begin(), seen.seconds.end());
  };
  add(out.one, one), add(out.two, two), add(out.apart, here), add(out.apart, there);
  return {};
}

Result<std::string> run(const Arguments& arguments, const Note& note) {
  Samples samples;
  for (int i = 0; i < arguments.reps; ++i) COHAUL_TRY(measure(arguments.sets, samples));
  const double one = median(samples.one), two = median(samples.two), apart = median(samples.apart);
  const double ours = one / two, cores = 2 * one / apart;
  const json figures{{"bench", "evaluation"}, {"one_s", one},   {"two_s", two},
                     {"speed_up", ours},      {"cores", cores}, {"ratio", ours / cores}};
  observe::Table table({"evaluation of the cnn", "s", "speed-up"});
  table.row({"one worker", observe::fixed(one, 3), "1.00x"});
  table.row({"two workers", observe::fixed(two, 3), observe::fixed(ours, 2) + "x"});
  table.row({"two processes, each all of it", observe::fixed(apart, 3), observe::fixed(cores, 2) + "x"});
  table.row({"two workers beside what the cores give", "", observe::fixed(ours / cores, 2) + "x"});
  note(figures);
  return table.text();
}

}  // namespace
}  // namespace cohaul::bench

int main(int argc, char** argv) {
  using namespace cohaul::bench;
  return bench_main(argc, argv, "evaluation",
                    "Evaluation by two workers, beside two processes that know nothing of each other.", {.reps = 3},
                    run);
}
