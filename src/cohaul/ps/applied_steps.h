#pragma once
// The set of steps that a partition has applied. Steps come nearly in order, so it keeps only the first step never seen and the holes before it:
// steps that are under way, and skipped ones. When there are more than kHolesMax holes, the oldest counts as applied, since it must have been
// skipped.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cohaul/base/ids.h"
#include "cohaul/base/limits.h"

namespace cohaul::ps {

class AppliedSteps {
 public:
  bool contains(Step step) const {
    return step.value < end_ && !std::binary_search(holes_.begin(), holes_.end(), step.value);
  }
  /// Adds a step. Returns false, and adds nothing, if the step is implausibly far ahead.
  bool add(Step step) {
    std::int64_t s = step.value;
    if (s < end_) {
      auto hole = std::lower_bound(holes_.begin(), holes_.end(), s);
      if (hole != holes_.end() && *hole == s) holes_.erase(hole);
      return true;
    }
    if (s - end_ > kJumpMax) return false;
    end_ = std::max(end_, s - kHolesMax);
    for (; end_ < s; ++end_) holes_.push_back(end_);
    ++end_;
    if (const auto n = static_cast<std::int64_t>(holes_.size()); n > kHolesMax)
      holes_.erase(holes_.begin(), holes_.begin() + (n - kHolesMax));
    return true;
  }

 private:
  std::int64_t end_ = 0;             // no step from here on has been applied
  std::vector<std::int64_t> holes_;  // ascending; not applied though below end_
};

}  // namespace cohaul::ps
