#pragma once
// The tree of sum.h for one block, over terms that may each be the sum of a complete subtree, and may be missing.

#include <algorithm>
#include <cstddef>

#include "cohaul/update/layout.h"
#include "cohaul/update/slices.h"
#include "cohaul/update/sum.h"

namespace cohaul::update {

/// Sum of the terms [first, last) over the slices [slice_first, slice_last), n <= kBlockElements elements each. slices_of_term(k) is the
/// complete subtree that term k covers; term(k) points to its elements, or is null where it adds nothing, and its neighbour moves up
/// unchanged. Returns `out`, or the one term that there is, or null where there is none. `out` may be one of the terms. Scratch is on the
/// stack, 2 blocks a level.
template <class T, class Term, class Slices>
const T* sum_block(const Term& term, const Slices& slices_of_term, std::size_t first, std::size_t last,
                   std::int32_t slice_first, std::int32_t slice_last, std::size_t n, T* out) {
  if (last - first == 1) return term(first);
  const std::int32_t middle = middle_of(slice_first, slice_last);
  std::size_t split = first;
  while (split < last && slices_of_term(split).first < middle) ++split;
  if (split == first) return sum_block(term, slices_of_term, first, last, middle, slice_last, n, out);
  if (split == last) return sum_block(term, slices_of_term, first, last, slice_first, middle, n, out);
  alignas(kAlignment) T left_sum[kBlockElements], right_sum[kBlockElements];
  const T* left = sum_block(term, slices_of_term, first, split, slice_first, middle, n, left_sum);
  const T* right = sum_block(term, slices_of_term, split, last, middle, slice_last, n, right_sum);
  if (left != nullptr && right != nullptr) {
    add(left, right, out, n);
    return out;
  }
  const T* one = left != nullptr ? left : right;
  if (one != left_sum && one != right_sum) return one;
  std::copy_n(one, n, out);  // the scratch ends here
  return out;
}

}  // namespace cohaul::update
