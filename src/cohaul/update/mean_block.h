#pragma once
// The mean over slices, in the order of the tree of sum.h. Neighbours that are equal stay as they are, bit for bit.

#include <cstddef>
#include <cstdint>

#include "cohaul/update/layout.h"
#include "cohaul/update/slices.h"

namespace cohaul::update {

/// The mean of `left`, itself the mean of so many slices, and its right neighbour.
template <class T>
T mean_of(T left, std::int32_t left_slices, T right, std::int32_t right_slices) {
  if (left == right) return left;
  const double share = static_cast<double>(right_slices) / (left_slices + right_slices);
  return static_cast<T>(static_cast<double>(left) + (static_cast<double>(right) - static_cast<double>(left)) * share);
}

template <class T>
void mean_of(const T* left, std::int32_t left_slices, const T* right, std::int32_t right_slices, T* out,
             std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = mean_of(left[i], left_slices, right[i], right_slices);
}

/// Mean of the terms [first, last), which cover the slices [slice_first, slice_last), of n <= kBlockElements elements each. slices_of_term(k) is
/// the complete subtree that term k covers, and term(k) points to the mean over it. Returns `out`, or the one term that there is. Scratch is on the
/// stack, 2 blocks a level.
template <class T, class Term, class Slices>
const T* mean_block(const Term& term, const Slices& slices_of_term, std::size_t first, std::size_t last,
                    std::int32_t slice_first, std::int32_t slice_last, std::size_t n, T* out) {
  if (last - first == 1) return term(first);
  const std::int32_t middle = middle_of(slice_first, slice_last);
  std::size_t split = first;
  while (slices_of_term(split).first < middle) ++split;
  alignas(kAlignment) T left_mean[kBlockElements], right_mean[kBlockElements];
  const T* left = mean_block(term, slices_of_term, first, split, slice_first, middle, n, left_mean);
  const T* right = mean_block(term, slices_of_term, split, last, middle, slice_last, n, right_mean);
  mean_of(left, middle - slice_first, right, slice_last - middle, out, n);
  return out;
}

}  // namespace cohaul::update
