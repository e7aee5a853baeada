#include "cohaul/ps/host_plan.h"

#include <algorithm>

namespace cohaul::ps {

HostPlan::HostPlan(const update::Layout& layout, std::int32_t slice_count, std::span<const int> hosts, int w,
                   const std::vector<bool>& near)
    : worker(w), slices(update::deal_slices(slice_count, hosts)) {
  for (std::size_t other = 0; other < hosts.size(); ++other)
    if (hosts[other] == hosts[static_cast<std::size_t>(w)]) workers.push_back(static_cast<int>(other));
  const auto servers = static_cast<std::int32_t>(near.size());
  for (std::size_t p = 0; p < layout.partitions().size(); ++p) {
    const ServerRank server = server_of(PartitionId(static_cast<std::int32_t>(p)), servers);
    far_.push_back(workers.size() > 1 && !near[static_cast<std::size_t>(server.value)]);
  }
  is_needed_ = std::ranges::find(far_, true) != far_.end();
  const update::SliceRange first = slices[static_cast<std::size_t>(workers.front())];
  const update::SliceRange last = slices[static_cast<std::size_t>(workers.back())];
  for (const update::SliceRange& tree : update::subtrees_of({first.first, last.last, slice_count})) {
    Sum sum{.slices = tree, .parts = {}, .holders = {}, .workers = {}};
    for (const int holder : workers) {
      for (const update::SliceRange& part : update::subtrees_of(slices[static_cast<std::size_t>(holder)])) {
        if (part.first < tree.first || part.last > tree.last) continue;
        sum.parts.push_back(part);
        sum.holders.push_back(holder);
        if (sum.workers.empty() || sum.workers.back() != holder) sum.workers.push_back(holder);
      }
    }
    if (sum.parts.size() > 1) sums.push_back(std::move(sum));
  }
}

int HostPlan::sum_of(const update::SliceRange& part) const {
  const auto in =
      std::ranges::find_if(sums, [&](const Sum& sum) { return std::ranges::find(sum.parts, part) != sum.parts.end(); });
  return in == sums.end() ? -1 : static_cast<int>(in - sums.begin());
}

}  // namespace cohaul::ps
