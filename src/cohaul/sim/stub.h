#pragma once
// What the simulated workers compute in the place of a model: pure functions.

#include <span>

#include "cohaul/sim/scenario.h"
#include "cohaul/update/exchange.h"

namespace cohaul::sim {

/// The gradient of one run of a step, of these slices, summed in tree order. Asynchronous: every element is step + 1, so that sums are
/// exact and any order gives the same; synchronous: numbers of which any other order of sums shows.
void fill_gradient(const Scenario& scenario, const update::Run& run, Step step, update::SliceRange slices,
                   std::span<double> out);
/// Summed over slices in tree order.
double stub_loss(Step step, update::SliceRange slices);

}  // namespace cohaul::sim
