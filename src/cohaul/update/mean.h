#pragma once
// The mean over slices, in the order of the tree of sum.h. Neighbours that are equal stay as they are, bit for bit.

#include <cstddef>
#include <cstdint>

namespace cohaul::update {

/// Returns the mean of `left`, itself the mean of so many slices, and its right neighbour.
template <class T>
T mean_of(T left, std::int32_t left_slices, T right, std::int32_t right_slices) {
  if (left == right) return left;
  const double weight = static_cast<double>(right_slices) / (left_slices + right_slices);
  return static_cast<T>(static_cast<double>(left) + (static_cast<double>(right) - static_cast<double>(left)) * weight);
}

/// Computes the means of n elements; `out` may be one of the sides.
template <class T>
void mean_of(const T* left, std::int32_t left_slices, const T* right, std::int32_t right_slices, T* out,
             std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = mean_of(left[i], left_slices, right[i], right_slices);
}

}  // namespace cohaul::update
