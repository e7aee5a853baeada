#pragma once
// Combines the contributions of a host's workers to a partition, so that the host sends one instead. They make up a
// complete subtree of slices, so the owner goes on from there with the same bits.

#include <cstddef>
#include <span>
#include <vector>

#include "cohaul/update/gradient_policy.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/owner.h"

namespace cohaul::update {

/// Combines them as their owner would: the sum of gradients, the mean of buffers' values, or slice 0's (Reduce). values: the partition's before the
/// step. out: Partition::bytes, which may not overlap a term; what is absent in all terms is left as it is. names: gets the first
/// parameter that is not finite at a worker, and which one; null: not wanted. Does not allocate, does not block.
void sum_subtree(const Layout& layout, PartitionId partition, std::span<const Contribution> terms,
                 const std::byte* values, std::byte* out, GradientFacts* names);

/// mask: gets the parameters that are absent in the combined contribution to a bucket. Allocates where it was never as long.
void absent_in_subtree(Reduce reduce, std::span<const Contribution> terms, std::vector<std::byte>& mask);

}  // namespace cohaul::update
