#pragma once
// The tree of sum.h for one block, over terms given by a function, so that whoever has them elsewhere needs no list.

#include <bit>
#include <cstddef>

#include "cohaul/update/layout.h"
#include "cohaul/update/sum.h"

namespace cohaul::update {

/// Sum of the terms [first, last), n ≤ kBlockElements elements each; term(k) points to the k-th. In `out`, or in the
/// term itself if there is but one. `out` may be one of the terms. Scratch is on the stack, 2 blocks a level.
template <class T, class Term>
const T* sum_block(const Term& term, std::size_t first, std::size_t last, std::size_t n, T* out) {
  const std::size_t count = last - first;
  if (count == 1) return term(first);
  const std::size_t middle = first + std::bit_ceil(count) / 2;  // on the left, the largest complete subtree
  alignas(kAlignment) T left_sum[kBlockElements], right_sum[kBlockElements];
  const T* left = sum_block(term, first, middle, n, left_sum);
  const T* right = sum_block(term, middle, last, n, right_sum);
  add(left, right, out, n);
  return out;
}

}  // namespace cohaul::update
