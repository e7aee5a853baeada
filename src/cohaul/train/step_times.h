#pragma once
// How long the steps of a training took.

#include <cstdint>
#include <vector>

#include "cohaul/base/clock.h"

namespace cohaul::train {

/// How long this worker's steps took, and how many samples all workers processed.
struct StepTimes {
  std::vector<Duration> steps;
  Time began = 0, ended = 0;  // when the first step began and the last one ended
  std::int64_t samples = 0;   // over all workers
  double median_ms() const;
  double samples_per_s() const;
};

}  // namespace cohaul::train
