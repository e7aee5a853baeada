#pragma once
// How far apart the cores of a machine are.

#include <string>
#include <vector>

#include "cohaul/base/clock.h"

namespace cohaul::cli {

struct CorePair {
  int from = 0, to = 0;  // CPU numbers
  double round_trip_ns = 0;
};

/// Measures how long a cache line takes from one core to another and back, for every pair of the CPUs; the shortest of many tries, within
/// about `all` and at least 2 ms a pair. Of many CPUs it takes 16, evenly spread. A pair on which a thread may not run is left out. Blocks.
std::vector<CorePair> core_distances(const std::vector<int>& cpus, Duration all = 300 * kMillisecond);

/// Returns "62 ns (0-1)", or the nearest pair, the median and the farthest pair; empty: there are no pairs.
std::string summary_of(std::vector<CorePair> pairs);

}  // namespace cohaul::cli
