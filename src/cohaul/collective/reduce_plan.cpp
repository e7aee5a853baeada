#include "cohaul/collective/reduce_plan.h"

#include <algorithm>

namespace cohaul::collective {

ReducePlan::ReducePlan(const update::Layout& layout, int r, int n, std::int32_t slice_count)
    : rank(r), ranks(n), owners(update::assign_owners(layout, n)), runs_owned(static_cast<std::size_t>(n)) {
  shares.resize(layout.runs().size() * static_cast<std::size_t>(n));
  for (std::size_t run = 0; run < layout.runs().size(); ++run) {
    const update::Run& of = layout.runs()[run];
    for (std::int32_t p = of.partition_first; p < of.partition_last; ++p) {
      const update::Partition& partition = layout.partitions()[p];
      Share& s = shares[run * static_cast<std::size_t>(n) + owners[p]];
      const std::int32_t first = layout.segments()[partition.segment_first].parameter - of.parameter_first;
      if (s.empty()) s.first = p, s.offset = partition.offset, s.parameter_first = first;
      s.last = p + 1;
      s.bytes = partition.offset + partition.bytes - s.offset;
      s.parameter_last = layout.segments()[partition.segment_last - 1].parameter - of.parameter_first + 1;
    }
    for (int k = 0; k < n; ++k) runs_owned[k] += share(run, k).empty() ? 0 : 1;
    owned_index.push_back(mine(run).empty() ? -1 : static_cast<std::int32_t>(owned.size()));
    if (!mine(run).empty()) owned.push_back(static_cast<std::int32_t>(run));
  }
  for (int k = 0; k < n; ++k) {
    slices.push_back(update::slices_of(slice_count, k, n));
    part_first.push_back(static_cast<std::int32_t>(parts.size()));
    std::ranges::copy(update::subtrees_of(slices.back()), std::back_inserter(parts));
  }
  part_first.push_back(static_cast<std::int32_t>(parts.size()));
}

std::vector<PartitionId> ReducePlan::partitions() const {
  std::vector<PartitionId> out;
  for (std::int32_t run : owned)
    for (std::int32_t p = mine(run).first; p < mine(run).last; ++p) out.emplace_back(p);
  return out;
}

}  // namespace cohaul::collective
