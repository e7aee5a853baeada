#pragma once
// What is told of a run, for those who tell it: the trainer decides what, the sinks of `observe` how.

#include <cstdint>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/observe/event.h"
#include "cohaul/strategy/engine.h"

namespace cohaul::train {

/// Durations of this worker's steps, and how fast all of them went.
struct StepTimes {
  std::vector<Duration> steps;
  Time began = 0, ended = 0;  // of the first step, of the last
  std::int64_t samples = 0;   // over all workers
  double median_ms() const;
  double samples_per_s() const;
};

/// Adds `staleness_mean`, `staleness_max` and `gap_max`.
void add_asynchrony(observe::Event& event, const strategy::Asynchrony& asynchrony);

}  // namespace cohaul::train
