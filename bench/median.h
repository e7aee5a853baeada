#pragma once

#include <algorithm>
#include <vector>

namespace cohaul::bench {

/// The upper one of two in the middle. v is not empty.
inline double median(std::vector<double> v) {
  std::ranges::sort(v);
  return v[v.size() / 2];
}

}  // namespace cohaul::bench
