#pragma once
// What a simulated run is like: a pure function of its seed.

#include <cstdint>
#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/ps/consistency.h"
#include "cohaul/update/layout.h"

namespace cohaul::sim {

struct Death {
  std::int32_t worker = 0;
  Time at = 0;
};

struct Scenario {
  std::uint64_t seed = 0;
  ps::Consistency consistency;
  std::int32_t workers = 1, servers = 1, slices = 1;
  std::int64_t steps = 1;
  bool by_address = false;
  double repeat_rate = 0;  // of pushes, and other messages that a worker may repeat
  Duration delay_max = 0, compute_max = 0;
  std::vector<Death> deaths;  // asynchronous modes only: a synchronous step can't end without its slices

  static Scenario draw(std::uint64_t seed);
  std::string describe() const;
};

/// A small model of several runs and partitions, float64; parameter kFrozen is frozen.
constexpr std::int32_t kFrozen = 2;
update::Layout small_layout();

}  // namespace cohaul::sim
