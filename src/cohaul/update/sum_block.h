#pragma once
// The tree of sum.h for one block, over terms that may each be the sum of a complete subtree, and may be missing.

#include <algorithm>
#include <cstddef>

#include "cohaul/update/layout.h"
#include "cohaul/update/slices.h"
#include "cohaul/update/sum.h"

namespace cohaul::update {

/// Combines the terms [first, last) over the slices [slice_first, slice_last), n <= kBlockElements elements each. slices_of_term(k) is the
/// complete subtree that term k covers; term(k) points to its elements, or is null where it adds nothing, and its neighbour moves up
/// unchanged. combine(left, left_slices, right, right_slices, out) makes one of two neighbours. Returns `out`, or the one term that there is, or null
/// where there is none. `out` may be one of the terms. Scratch is on the stack, 2 blocks a level.
template <class T, class Term, class Slices, class Combine>
const T* combine_block(const Term& term, const Slices& slices_of_term, const Combine& combine, std::size_t first,
                       std::size_t last, std::int32_t slice_first, std::int32_t slice_last, std::size_t n, T* out) {
  if (last - first == 1) return term(first);
  const std::int32_t middle = middle_of(slice_first, slice_last);
  std::size_t split = first;
  while (split < last && slices_of_term(split).first < middle) ++split;
  if (split == first) return combine_block(term, slices_of_term, combine, first, last, middle, slice_last, n, out);
  if (split == last) return combine_block(term, slices_of_term, combine, first, last, slice_first, middle, n, out);
  alignas(kAlignment) T left_combined[kBlockElements], right_combined[kBlockElements];
  const T* left = combine_block(term, slices_of_term, combine, first, split, slice_first, middle, n, left_combined);
  const T* right = combine_block(term, slices_of_term, combine, split, last, middle, slice_last, n, right_combined);
  if (left != nullptr && right != nullptr) {
    combine(left, middle - slice_first, right, slice_last - middle, out);
    return out;
  }
  const T* one = left != nullptr ? left : right;
  if (one != left_combined && one != right_combined) return one;
  std::copy_n(one, n, out);  // the scratch ends here
  return out;
}

/// Returns the sum of the terms, as combine_block() does.
template <class T, class Term, class Slices>
const T* sum_block(const Term& term, const Slices& slices_of_term, std::size_t first, std::size_t last,
                   std::int32_t slice_first, std::int32_t slice_last, std::size_t n, T* out) {
  const auto combine = [n](const T* left, std::int32_t, const T* right, std::int32_t, T* to) {
    add(left, right, to, n);
  };
  return combine_block(term, slices_of_term, combine, first, last, slice_first, slice_last, n, out);
}

}  // namespace cohaul::update
