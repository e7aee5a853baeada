#include "cohaul/collective/reduce_plan.h"

#include <algorithm>
#include <iterator>
#include <tuple>

namespace cohaul::collective {
namespace {

std::vector<int> all_on_one(int ranks) { return std::vector<int>(static_cast<std::size_t>(ranks), 0); }

}  // namespace

ReducePlan::ReducePlan(const update::Layout& layout, int r, int n, std::int32_t slice_count, std::span<const int> hosts,
                       bool shared)
    : rank(r), ranks(n), owners(update::assign_owners(layout, n)), buckets_owned(static_cast<std::size_t>(n)) {
  const std::vector<int> one = all_on_one(n);
  if (hosts.empty()) hosts = one;
  set_portions(layout);
  rank_at = update::workers_by_host(hosts);
  slices = update::deal_slices(slice_count, hosts);
  for (auto* by_rank : {&host, &position, &part_first, &part_last, &gradients, &sums_from, &portions_told})
    by_rank->resize(static_cast<std::size_t>(n));
  for (auto* by_rank : {&has_facts, &writes}) by_rank->resize(static_cast<std::size_t>(n));
  for (std::int32_t p = 0; p < n; ++p) {
    const int at = rank_at[p];
    if (p == 0 || hosts[at] != hosts[rank_at[p - 1]]) host_first.push_back(p);
    host[at] = static_cast<std::int32_t>(host_first.size()) - 1;
    position[at] = p;
    part_first[at] = static_cast<std::int32_t>(parts.size());
    std::ranges::copy(update::subtrees_of(slices[at]), std::back_inserter(parts));
    part_last[at] = static_cast<std::int32_t>(parts.size());
    holder.resize(parts.size(), at);
  }
  host_first.push_back(n);
  set_terms();
  set_sums();
  set_tellers(shared);
}

void ReducePlan::set_portions(const update::Layout& layout) {
  portions.resize(layout.buckets().size() * static_cast<std::size_t>(ranks));
  for (std::size_t bucket = 0; bucket < layout.buckets().size(); ++bucket) {
    const update::Bucket& of = layout.buckets()[bucket];
    for (std::int32_t p = of.partition_first; p < of.partition_last; ++p) {
      const update::Partition& partition = layout.partitions()[p];
      Portion& s = portions[bucket * static_cast<std::size_t>(ranks) + owners[p]];
      const std::int32_t first = layout.segments()[partition.segment_first].parameter - of.parameter_first;
      if (s.empty()) s.first = p, s.offset = partition.offset, s.parameter_first = first;
      s.last = p + 1;
      s.bytes = partition.offset + partition.bytes - s.offset;
      s.parameter_last = layout.segments()[partition.segment_last - 1].parameter - of.parameter_first + 1;
    }
    for (int k = 0; k < ranks; ++k) buckets_owned[k] += portion(bucket, k).empty() ? 0 : 1;
    owned_index.push_back(mine(bucket).empty() ? -1 : static_cast<std::int32_t>(owned.size()));
    if (!mine(bucket).empty()) owned.push_back(static_cast<std::int32_t>(bucket));
  }
}

/// Sets the terms: the parts of a rank as they are where it is on the owner's host; else one sum of its host for each
/// complete subtree.
void ReducePlan::set_terms() {
  const std::size_t hosts = host_first.size() - 1;
  terms.resize(hosts);
  term_index.resize(hosts);
  for (std::size_t of = 0; of < hosts; ++of) {
    for (std::size_t h = 0; h < hosts; ++h) {
      const int first = rank_at[host_first[h]], last = rank_at[host_first[h + 1] - 1];
      const auto own = std::span(parts).subspan(part_first[first], part_last[last] - part_first[first]);
      const update::SliceRange range{slices[first].first, slices[last].last, slices[first].count};
      for (const update::SliceRange& tree :
           h == of ? std::vector(own.begin(), own.end()) : update::subtrees_of(range)) {
        Term term{.slices = tree};
        term.part_first = term.part_last = static_cast<std::int32_t>(term_index[of].size());
        while (term.part_last < part_last[last] && parts[term.part_last].last <= tree.last) ++term.part_last;
        term.position_first = host_first[h];
        while (part_last[rank_at[term.position_first]] <= term.part_first) ++term.position_first;
        term.position_last = term.position_first;
        while (term.position_last < host_first[h + 1] && part_first[rank_at[term.position_last]] < term.part_last)
          ++term.position_last;
        term_index[of].resize(static_cast<std::size_t>(term.part_last), static_cast<std::int32_t>(terms[of].size()));
        terms[of].push_back(term);
      }
    }
  }
}

void ReducePlan::set_sums() {
  slots = static_cast<std::int32_t>(owned.size() * terms_of(rank).size());
  for (int r = 0; r < ranks; ++r) has_facts[r] = buckets_owned[r] > 0;
  for (std::size_t bucket = 0; bucket < owned_index.size(); ++bucket) {
    for (int owner = 0; owner < ranks; ++owner) {
      if (portion(bucket, owner).empty()) continue;
      for (std::size_t k = 0; k < terms_of(owner).size(); ++k) {
        const Term& term = terms_of(owner)[k];
        const int from = sender(bucket, owner, term);
        if (term.is_sum()) has_facts[from] = 1;
        if (owner == rank) ++(term.is_sum() ? sums_from : gradients)[from];
        if (!term.is_sum() || from != rank) continue;
        sums.push_back({static_cast<std::int32_t>(bucket), owner, static_cast<std::int32_t>(k), slots, sum_bytes});
        slots += term.part_last - term.part_first;
        sum_bytes += aligned(portion(bucket, owner).bytes);
        for (std::int32_t p = term.position_first; p < term.position_last; ++p) {
          const int holder = rank_at[p];
          gradients[holder] +=
              std::min(term.part_last, part_last[holder]) - std::max(term.part_first, part_first[holder]);
        }
      }
    }
  }
  for (const std::int32_t n : sums_from) sums_due += n;
}

void ReducePlan::set_tellers(bool shared) {
  for (std::size_t bucket = 0; bucket < owned_index.size(); ++bucket) {
    for (int owner = 0; owner < ranks; ++owner) {
      if (portion(bucket, owner).empty()) continue;
      if (shared) writes[is_near(owner) ? owner : relay(bucket, owner, host[rank])] = 1;
      const int from = teller(bucket, owner, rank);
      if (owner != rank && !(shared && is_near(from))) ++portions_told[from];
    }
  }
}

int ReducePlan::teller(std::size_t bucket, int owner, int to) const {
  if (host[owner] == host[to]) return owner;
  const int here = relay(bucket, owner, host[to]);
  return here == to ? owner : here;
}

int ReducePlan::spreader(int to) const {
  const int first = rank_at[host_first[host[to]]];
  return host[to] == host[0] || first == to ? 0 : first;
}

std::vector<PartitionId> ReducePlan::partitions() const {
  std::vector<PartitionId> out;
  for (std::int32_t bucket : owned)
    for (std::int32_t p = mine(bucket).first; p < mine(bucket).last; ++p) out.emplace_back(p);
  return out;
}

ReducePlan::Target ReducePlan::target(std::size_t bucket, int owner, std::int32_t part) const {
  const std::int32_t term = term_index[host[owner]][part];
  if (owner == rank && owned_index[bucket] < 0) return {};
  if (owner == rank) return {owned_index[bucket] * static_cast<std::int32_t>(terms_of(rank).size()) + term, -1};
  const auto sum = std::ranges::lower_bound(sums, std::tuple(static_cast<std::int32_t>(bucket), owner, term), {},
                                            [](const HostSum& s) { return std::tuple(s.bucket, s.owner, s.term); });
  if (sum == sums.end() || sum->bucket != static_cast<std::int32_t>(bucket) || sum->owner != owner || sum->term != term)
    return {};
  return {sum->slot + part - terms_of(owner)[term].part_first, static_cast<std::int32_t>(sum - sums.begin())};
}

}  // namespace cohaul::collective
