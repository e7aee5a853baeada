#include "cohaul/train/report.h"

#include <algorithm>

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

void add_asynchrony(observe::Event& event, const strategy::Asynchrony& asynchrony) {
  event.add("staleness_mean", asynchrony.staleness_mean);
  event.add("staleness_max", asynchrony.staleness_max);
  event.add("gap_max", asynchrony.gap_max);
}

}  // namespace cohaul::train
