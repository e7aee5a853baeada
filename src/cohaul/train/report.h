#pragma once
// Figures of a training, for events and reports.

#include <cstdint>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/observe/event.h"
#include "cohaul/strategy/engine.h"

namespace cohaul::train {

/// How long this worker's steps took, and how many samples all workers processed.
struct StepTimes {
  std::vector<Duration> steps;
  Time began = 0, ended = 0;  // when the first step began and the last one ended
  std::int64_t samples = 0;   // over all workers
  double median_ms() const;
  double samples_per_s() const;
};

/// Adds `staleness_mean`, `staleness_max` and `gap_max`.
void add_asynchrony(observe::Event& event, const strategy::Asynchrony& asynchrony);

}  // namespace cohaul::train
