#pragma once
// Cross entropy and argmax over classes that are split over the ranks of a group. The logits are never gathered: for each row the ranks exchange a
// maximum, a sum and the target's logit (Shoeybi et al., "Megatron-LM", 2019, section 3).

#include "cohaul/collective/group.h"
#include "cohaul/parallel/split.h"

namespace cohaul::parallel {

/// Returns the mean over rows of −log softmax(logits)[target]: a scalar with the same bits on every rank, differentiable once. logits: [n,
/// classes.size()], this rank's part; target: int64 [n], the same on every rank. Every rank calls it; blocks as the group does; throws Error.
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& target, const Part& classes,
                         collective::Group& group);

/// Returns int64 [n]: for each row the class with the largest logit over all ranks, the lowest of equals.
at::Tensor argmax(const at::Tensor& logits, const Part& classes, collective::Group& group);

}  // namespace cohaul::parallel
