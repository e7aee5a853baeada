#include "cohaul/train/report.h"

#include <algorithm>

namespace cohaul::train {

void ProgressReporter::step(const StepReport& r) {
  observe::Progress p{.step = r.step, .loss = r.loss, .samples_per_s = r.samples_per_s, .seconds_left = r.seconds_left};
  if (r.many) p.waiting = r.waiting;
  p.lr = r.lr, p.gradient_norm = r.gradient_norm, p.skipped = r.skipped;
  observe::StepRecord line{.step = r.step,
                           .loss = r.loss,
                           .samples_per_s = r.samples_per_s,
                           .waiting = p.waiting,
                           .lr = r.lr,
                           .gradient_norm = r.gradient_norm,
                           .skipped = r.skipped};
  if (r.asynchrony) {
    p.staleness = {r.asynchrony->staleness_mean, static_cast<double>(r.asynchrony->staleness_max)};
    line.asynchrony = {r.asynchrony->staleness_mean, r.asynchrony->staleness_max, r.asynchrony->gap_max};
  }
  progress_.show(p);
  write(line);
}

void ProgressReporter::checkpoint(const observe::CheckpointRecord& r) {
  if (!r.error.empty()) progress_.say("checkpoint after step " + std::to_string(r.step) + " not written: " + r.error);
  write(r);
}

void ProgressReporter::resumed(const observe::ResumedRecord& r) {
  for (const std::string& why : r.passed_over) progress_.say("passed over: " + why);
  progress_.say("goes on after step " + std::to_string(r.step) + ", from " + r.path);
  write(r);
}

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
