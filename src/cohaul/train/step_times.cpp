#include "cohaul/train/step_times.h"

#include <algorithm>
#include <cstddef>

namespace cohaul::train {

double StepTimes::median_ms() const {
  if (steps.empty()) return 0;
  std::vector<Duration> sorted = steps;
  auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return static_cast<double>(*middle) / 1e6;
}

double StepTimes::samples_per_s() const {
  return ended > began ? static_cast<double>(samples) * 1e9 / static_cast<double>(ended - began) : 0;
}

}  // namespace cohaul::train
