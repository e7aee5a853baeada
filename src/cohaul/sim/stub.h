#pragma once
// What the simulated workers compute in the place of a model: pure functions.

#include <span>
#include <string>
#include <vector>

#include "cohaul/sim/scenario.h"
#include "cohaul/update/exchange.h"

namespace cohaul::sim {

/// What all workers must agree on of a loop.
std::string loop_facts(std::int64_t loop);

/// The gradient of one run of a step, of these slices, summed in tree order. Asynchronous: every element is step + 1, so that sums are
/// exact and any order gives the same; synchronous: numbers of which any other order of sums shows. The last slice of a poisoned step has an infinite element.
void fill_gradient(const Scenario& scenario, const update::Run& run, Step step, update::SliceRange slices,
                   std::span<double> out);
/// What one process does in a step of all slices. gradient: as long as the flat area; scratch.
Result<update::StepOutcome> whole_step(update::Exchange& exchange, const Scenario& scenario,
                                       const update::Layout& layout, Step step, std::span<double> gradient);
/// The rule of simulated workers.
update::RuleSettings stub_rule(bool is_sync);
/// One for each part of the slices; their losses are summed in tree order.
std::vector<update::PartEnd> stub_ends(Step step, const update::SliceRange& slices);

}  // namespace cohaul::sim
