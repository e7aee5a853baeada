#include "cohaul/update/subtree_sum.h"

#include <algorithm>
#include <cmath>

#include "cohaul/update/block_ops.h"
#include "cohaul/update/segment_sum.h"

namespace cohaul::update {
namespace {

/// Returns the terms that count: for Reduce::first only the one that has the first slice.
std::span<const Contribution> counted(Reduce reduce, std::span<const Contribution> terms) {
  return reduce == Reduce::first ? terms.first(1) : terms;
}

template <class T>
void sum_as(const Layout& layout, const Partition& partition, std::span<const Contribution> terms,
            const std::byte* values, std::byte* out, GradientFacts* names) {
  const bool is_gradient = layout.buckets()[partition.bucket].reduce == Reduce::update;
  for (std::uint32_t s = partition.segment_first; s < partition.segment_last; ++s) {
    const Segment& segment = layout.segments()[s];
    const SegmentSum<T> sum(layout, partition, segment, terms);
    if (sum.absent_in_all()) continue;
    const std::uint64_t begin = segment.offset - partition.offset;
    const auto* before = reinterpret_cast<const T*>(values + begin);
    for (std::uint64_t done = 0; done < segment.elements; done += kBlockElements) {
      const std::size_t n = std::min<std::uint64_t>(kBlockElements, segment.elements - done);
      T* to = reinterpret_cast<T*>(out + begin) + done;
      const T* block = is_gradient ? sum.block(done, n, to) : sum.mean_block(before, done, n, to);
      if (block != to) std::copy_n(block, n, to);
      if (names == nullptr || !is_gradient || std::isfinite(squares(block, n))) continue;
      GradientFacts here;
      here.worker = sum.worker_not_finite(done, n);
      if (here.worker < 0) continue;
      here.parameter = segment.parameter;
      names->merge(here);
    }
  }
}

}  // namespace

void sum_subtree(const Layout& layout, PartitionId id, std::span<const Contribution> terms, const std::byte* values,
                 std::byte* out, GradientFacts* names) {
  const Partition& partition = layout.partitions()[id.value];
  terms = counted(layout.buckets()[partition.bucket].reduce, terms);
  if (partition.dtype == DType::float32) sum_as<float>(layout, partition, terms, values, out, names);
  else sum_as<double>(layout, partition, terms, values, out, names);
}

void absent_in_subtree(Reduce reduce, std::span<const Contribution> terms, std::vector<std::byte>& mask) {
  mask.clear();
  terms = counted(reduce, terms);
  if (std::ranges::any_of(terms, [](const Contribution& c) { return c.absent.empty(); })) return;
  mask.assign(terms[0].absent.begin(), terms[0].absent.end());
  for (const Contribution& c : terms.subspan(1))
    for (std::size_t i = 0; i < mask.size(); ++i) mask[i] &= c.absent[i];
}

}  // namespace cohaul::update
