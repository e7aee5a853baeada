#pragma once
// Inside of update: a segment of a partition, combined over contributions in tree order, block by block.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "cohaul/update/layout.h"
#include "cohaul/update/mean.h"
#include "cohaul/update/owner.h"
#include "cohaul/update/sum_block.h"

namespace cohaul::update {

template <class T>
std::int64_t count_non_finite(const T* x, std::size_t n) {
  return std::count_if(x, x + n, [](T v) { return !std::isfinite(v); });
}

template <class T>
class SegmentSum {
 public:
  SegmentSum(const Layout& layout, const Partition& partition, const Segment& segment,
             std::span<const Contribution> contributions)
      : contributions_(contributions),
        begin_(segment.offset - partition.offset),
        index_(static_cast<std::size_t>(segment.parameter - layout.buckets()[partition.bucket].parameter_first)) {}

  bool is_absent(const Contribution& c) const { return update::is_absent(c.absent, index_); }
  bool absent_in_all() const {
    return std::ranges::all_of(contributions_, [&](const Contribution& c) { return is_absent(c); });
  }
  const T* term(std::size_t k, std::uint64_t element) const {
    const Contribution& c = contributions_[k];
    return is_absent(c) ? nullptr : reinterpret_cast<const T*>(c.gradient.data() + begin_ + element * sizeof(T));
  }
  /// Returns elements [element, element + n), n <= kBlockElements: in `sum`, or in place where only one contribution
  /// has them. Not for a segment that is absent in all.
  const T* block(std::uint64_t element, std::size_t n, T* sum) const {
    return sum_block([&](std::size_t k) { return term(k, element); },
                     [&](std::size_t k) { return contributions_[k].slices; }, 0, contributions_.size(), 0,
                     contributions_[0].slices.count, n, sum);
  }
  /// Returns the mean of a buffer's values in the same way. before: all its values, which stand for those that are
  /// absent.
  const T* mean_block(const T* before, std::uint64_t element, std::size_t n, T* mean) const {
    const auto values = [&](std::size_t k) {
      const T* here = term(k, element);
      return here != nullptr ? here : before + element;
    };
    const auto combine = [n](const T* left, std::int32_t left_slices, const T* right, std::int32_t right_slices,
                             T* out) { mean_of(left, left_slices, right, right_slices, out, n); };
    return combine_block(
        values, [&](std::size_t k) { return contributions_[k].slices; }, combine, 0, contributions_.size(), 0,
        contributions_[0].slices.count, n, mean);
  }
  /// Returns the first worker that is known and whose elements [element, element + n) are not all finite; -1: there
  /// is none.
  std::int32_t worker_not_finite(std::uint64_t element, std::size_t n) const {
    for (std::size_t k = 0; k < contributions_.size(); ++k) {
      const T* here = contributions_[k].worker < 0 ? nullptr : term(k, element);
      if (here != nullptr && count_non_finite(here, n) > 0) return contributions_[k].worker;
    }
    return -1;
  }

 private:
  std::span<const Contribution> contributions_;
  std::uint64_t begin_;  // bytes
  std::size_t index_;    // of the parameter in its bucket
};

}  // namespace cohaul::update
