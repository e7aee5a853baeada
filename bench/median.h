#pragma once

#include <algorithm>
#include <vector>

namespace cohaul::bench {

/// Returns the median; if the number of values is even, the larger of the two in the middle. v must not be empty.
inline double median(std::vector<double> v) {
  std::ranges::sort(v);
  return v[v.size() / 2];
}

}  // namespace cohaul::bench
