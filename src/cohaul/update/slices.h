#pragma once
// Slices: the parts of a step's batch, which worker computes which, and which sums of them a worker sends.

#include <cstdint>
#include <span>
#include <vector>

#include "cohaul/base/limits.h"

namespace cohaul::update {

/// Slices [first, last) of a step's `count` slices.
struct SliceRange {
  std::int32_t first = 0, last = 1, count = 1;
  std::int32_t size() const { return last - first; }
  bool operator==(const SliceRange&) const = default;
};
/// Whether two ranges, neither of them empty, have a slice in common.
constexpr bool overlap(const SliceRange& a, const SliceRange& b) { return a.first < b.last && b.first < a.last; }

/// Returns the slices of worker `rank` of `workers`: [⌊rank·slices/workers⌋, ⌊(rank+1)·slices/workers⌋). None is
/// empty where slices >= workers.
SliceRange slices_of(std::int32_t slices, std::int32_t rank, std::int32_t workers);

/// Returns the workers host by host: each host's ascending, hosts in the order of their first worker. hosts: by
/// worker, equal on one host.
std::vector<int> workers_by_host(std::span<const int> hosts);
/// Returns, by worker, slices_of(slices, its position in workers_by_host(), workers), so that a host's slices are
/// neighbours.
std::vector<SliceRange> deal_slices(std::int32_t slices, std::span<const int> hosts);

/// Returns the complete subtrees of the summation tree (sum.h) over all slices that make up `range`, in their order.
/// One where `range` is a complete subtree; at most 2·log2(count) in all.
std::vector<SliceRange> subtrees_of(const SliceRange& range);

/// Returns where the tree parts the slices [first, last) into its two sides; last - first >= 2.
constexpr std::int32_t middle_of(std::int32_t first, std::int32_t last) {
  std::int32_t left = 1;  // slices on the left: the largest power of two that leaves some for the right
  while (left * 2 < last - first) left *= 2;
  return first + left;
}

/// What a worker says at the end of one part of a step: see exchange.h.
struct PartEnd {
  double loss = 0;  // Σ weight_v · loss_v over the part's slices, in tree order; weight_v is samples_v if samples > 0
  double samples = 0;  // over which the part is still to be averaged; 0: its weights are fractions of the batch already
  std::uint64_t counters = 0;  // hash of the buffers that have no mean (counters), after the part
  std::uint8_t request = 0;    // what its worker was asked for from outside (StepOutcome::request)
};

/// Returns the loss of the whole batch: the parts' losses in tree order, over all their samples. parts: ascending,
/// they cover all slices.
double loss_of(std::span<const SliceRange> parts, std::span<const PartEnd> ends);
/// Returns the strongest request of all parts.
std::uint8_t request_of(std::span<const PartEnd> ends);
/// Returns the samples of all parts; 0 where they are averaged already.
double samples_of(std::span<const PartEnd> ends);
/// Returns whether either all parts say their samples, or none does: otherwise there is no mean over the batch.
bool weighed_alike(std::span<const PartEnd> ends);
/// Returns whether all parts left the same counters.
bool counted_alike(std::span<const PartEnd> ends);

}  // namespace cohaul::update
