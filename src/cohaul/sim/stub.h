#pragma once
// What simulated workers compute in place of a model: pure functions.

#include <span>
#include <string>
#include <vector>

#include "cohaul/sim/scenario.h"
#include "cohaul/update/exchange.h"

namespace cohaul::sim {

/// Returns the facts of a loop, which all workers must have alike.
std::string loop_facts(std::int64_t loop);

/// Writes the gradient of one bucket in a step, summed over the slices in tree order. Asynchronous: every element is step + 1, so sums are exact in any
/// order. Synchronous: numbers for which any other order of sums gives another result. The last slice of a poisoned step has an infinite element.
void fill_gradient(const Scenario& scenario, const update::Bucket& bucket, Step step, update::SliceRange slices,
                   std::span<double> out);
/// Does a whole step with all slices. gradient: scratch memory as long as the flat area.
Result<update::StepOutcome> whole_step(update::Exchange& exchange, const Scenario& scenario,
                                       const update::Layout& layout, Step step, std::span<double> gradient);
/// Returns the update rule of simulated workers.
update::RuleSettings stub_rule(bool is_sync);
/// Returns the ends of all parts of the slices; their losses are sums in tree order.
std::vector<update::PartEnd> stub_ends(Step step, const update::SliceRange& slices);

}  // namespace cohaul::sim
