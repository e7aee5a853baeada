#pragma once
// Metrics: sums over the samples of a batch, so that any cut of a test set gives one figure.

#include <ATen/core/grad_mode.h>

#include <functional>

#include "cohaul/data/data_set.h"

namespace cohaul::data {

/// The sum of a per-sample figure over a batch; divided by the samples seen, it is the metric.
using Metric = std::function<double(const Batch&)>;

/// How many rows of logits [n, classes] have their largest value (the first of equals) at target [n].
double correct(const at::Tensor& logits, const at::Tensor& target);

/// The samples that `net` (a TORCH_MODULE holder or shared_ptr with forward(Tensor) → logits) gets right. Keeps a copy of the holder.
template <class Net>
Metric accuracy(Net net) {
  return [net](const Batch& batch) mutable {
    at::NoGradGuard no_grad;
    return correct(net->forward(batch.input), batch.target);
  };
}

}  // namespace cohaul::data
