#pragma once
// For this folder's tests.

#include <hwy/targets.h>

#include <cstddef>
#include <vector>

#include "cohaul/base/random.h"

namespace cohaul::update {

/// Calls f once for every instruction set that this machine has and the library was built for.
template <class F>
void on_every_target(F f) {
  for (std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    f(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
}

/// Returns n values, uniform in [-1, 1).
template <class T>
std::vector<T> random_values(std::size_t n, std::uint64_t seed) {
  Random random(seed);
  std::vector<T> out(n);
  for (T& x : out) x = static_cast<T>(2 * random.uniform() - 1);
  return out;
}

}  // namespace cohaul::update
