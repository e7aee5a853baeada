#include "cohaul/sim/stub.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "cohaul/base/random.h"
#include "cohaul/update/sum.h"

namespace cohaul::sim {

std::string loop_facts(std::int64_t loop) { return "loop=" + std::to_string(loop) + "\nbatch=64\n"; }

void fill_gradient(const Scenario& scenario, const update::Bucket& bucket, Step step, update::SliceRange slices,
                   std::span<double> out) {
  if (!scenario.is_sync()) {
    std::fill(out.begin(), out.end(), static_cast<double>(step.value + 1));
    if (scenario.is_poisoned(step)) out[0] = std::numeric_limits<double>::infinity();
    return;
  }
  std::vector<std::vector<double>> terms;
  std::vector<const double*> addresses;
  for (std::int32_t v = slices.first; v < slices.last; ++v) {
    Random draw(mix_seed(scenario.problem, step.value, v), bucket.offset);
    // The multiplier spreads the values evenly; the scale fills all 53 bits, so that sums are rounded.
    auto word = static_cast<std::uint32_t>(draw()), pace = static_cast<std::uint32_t>(draw()) | 1;
    double scale = draw.uniform() * 0x1p-31;
    auto& term = terms.emplace_back(out.size());
    for (double& t : term) {
      t = static_cast<double>(static_cast<std::int32_t>(word)) * scale;
      word += pace;
    }
    if (scenario.is_poisoned(step) && v + 1 == slices.count) term[0] = std::numeric_limits<double>::infinity();
  }
  for (const auto& term : terms) addresses.push_back(term.data());
  update::tree_sum(std::span<const double* const>(addresses), out.data(), out.size());
}

Result<update::StepOutcome> whole_step(update::Exchange& exchange, const Scenario& scenario,
                                       const update::Layout& layout, Step step, std::span<double> gradient) {
  const update::SliceRange all{0, scenario.slices, scenario.slices};
  COHAUL_TRY(exchange.begin({step, all}, {}));
  for (std::size_t r = 0; r < layout.buckets().size(); ++r) {
    const update::Bucket& bucket = layout.buckets()[r];
    const auto part = gradient.subspan(bucket.offset / sizeof(double), bucket.bytes / sizeof(double));
    fill_gradient(scenario, bucket, step, all, part);
    COHAUL_TRY(exchange.push({.bucket = static_cast<std::int32_t>(r), .bytes = as_bytes(part)}));
  }
  return exchange.finish(stub_ends(step, all));
}

update::RuleSettings stub_rule(bool is_sync) { return {.lr = 1, .momentum = is_sync ? 0.9 : 0}; }

std::vector<update::PartEnd> stub_ends(Step step, const update::SliceRange& slices) {
  std::vector<update::PartEnd> ends;
  for (const update::SliceRange& part : update::subtrees_of(slices)) {
    std::vector<double> losses;
    std::vector<const double*> addresses;
    for (std::int32_t v = part.first; v < part.last; ++v) losses.push_back(Random(step.value, v).uniform());
    for (const double& loss : losses) addresses.push_back(&loss);
    update::tree_sum(std::span<const double* const>(addresses), &ends.emplace_back().loss, 1);
  }
  return ends;
}

}  // namespace cohaul::sim
