#include "cohaul/update/slices.h"

#include <algorithm>

#include "cohaul/update/sum_block.h"

namespace cohaul::update {
namespace {

void descend(const SliceRange& range, std::int32_t first, std::int32_t last, std::vector<SliceRange>& out) {
  if (range.first >= last || range.last <= first) return;
  if (range.first <= first && last <= range.last) {
    out.push_back({first, last, range.count});
    return;
  }
  const std::int32_t middle = middle_of(first, last);
  descend(range, first, middle, out);
  descend(range, middle, last, out);
}

}  // namespace

SliceRange slices_of(std::int32_t slices, std::int32_t rank, std::int32_t workers) {
  auto cut = [&](std::int64_t r) { return static_cast<std::int32_t>(r * slices / workers); };
  return {cut(rank), cut(rank + 1), slices};
}

std::vector<int> workers_by_host(std::span<const int> hosts) {
  std::vector<int> out;
  for (std::size_t first = 0; first < hosts.size(); ++first) {
    const auto before = hosts.first(first);
    if (std::ranges::find(before, hosts[first]) != before.end()) continue;
    for (std::size_t w = first; w < hosts.size(); ++w)
      if (hosts[w] == hosts[first]) out.push_back(static_cast<int>(w));
  }
  return out;
}

std::vector<SliceRange> deal_slices(std::int32_t slices, std::span<const int> hosts) {
  const auto workers = static_cast<std::int32_t>(hosts.size());
  std::vector<SliceRange> out(hosts.size());
  std::int32_t position = 0;
  for (const int worker : workers_by_host(hosts))
    out[static_cast<std::size_t>(worker)] = slices_of(slices, position++, workers);
  return out;
}

std::vector<SliceRange> subtrees_of(const SliceRange& range) {
  std::vector<SliceRange> out;
  descend(range, 0, range.count, out);
  return out;
}

double loss_of(std::span<const SliceRange> parts, std::span<const PartEnd> ends) {
  const auto term = [&](std::size_t k) { return &ends[k].loss; };
  const auto slices = [&](std::size_t k) { return parts[k]; };
  double sum = 0;
  const double loss = *sum_block(term, slices, 0, parts.size(), 0, parts[0].count, 1, &sum);
  const double samples = samples_of(ends);
  return samples > 0 ? loss / samples : loss;
}

double samples_of(std::span<const PartEnd> ends) {
  double samples = 0;
  for (const PartEnd& end : ends) samples += end.samples;
  return samples;
}

bool counted_alike(std::span<const PartEnd> ends) {
  return std::ranges::all_of(ends, [&](const PartEnd& e) { return e.counters == ends[0].counters; });
}

std::uint8_t request_of(std::span<const PartEnd> ends) {
  std::uint8_t strongest = 0;
  for (const PartEnd& end : ends) strongest = std::max(strongest, end.request);
  return strongest;
}

bool weighed_alike(std::span<const PartEnd> ends) {
  return std::ranges::all_of(ends, [&](const PartEnd& e) { return (e.samples > 0) == (ends[0].samples > 0); });
}

}  // namespace cohaul::update
