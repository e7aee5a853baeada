#pragma once
// Enumerates the subtrees that make up a range of slices (update/slices.h), without allocating memory.

#include <cstddef>
#include <cstdint>

#include "cohaul/update/slices.h"

namespace cohaul::ps {

/// Calls f(SliceRange) for each element of update::subtrees_of(range), in their order.
template <class F>
void each_subtree(const update::SliceRange& range, const F& f, std::int32_t first, std::int32_t last) {
  if (range.first >= last || range.last <= first) return;
  if (range.first <= first && last <= range.last) return f(update::SliceRange{first, last, range.count});
  const std::int32_t middle = update::middle_of(first, last);
  each_subtree(range, f, first, middle);
  each_subtree(range, f, middle, last);
}
template <class F>
void each_subtree(const update::SliceRange& range, const F& f) {
  each_subtree(range, f, 0, range.count);
}

inline std::size_t count_subtrees(const update::SliceRange& range) {
  std::size_t n = 0;
  each_subtree(range, [&](const update::SliceRange&) { ++n; });
  return n;
}

/// Returns whether the range is one complete subtree. first < last <= count.
constexpr bool is_subtree(const update::SliceRange& range) {
  std::int32_t first = 0, last = range.count;
  while (range.first != first || range.last != last) {
    if (last - first < 2) return false;
    const std::int32_t middle = update::middle_of(first, last);
    if (range.last <= middle) last = middle;
    else if (range.first >= middle) first = middle;
    else return false;
  }
  return true;
}

}  // namespace cohaul::ps
