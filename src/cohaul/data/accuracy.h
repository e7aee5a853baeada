#pragma once
// Metrics of a test set. A metric is summed over the samples of each batch, so the result does not depend on how the set is cut into batches.

#include <ATen/core/grad_mode.h>

#include <functional>

#include "cohaul/data/data_set.h"

namespace cohaul::data {

/// Returns the sum of a figure over the samples of a batch. The metric is the sum over all batches, divided by the number of samples.
using Metric = std::function<double(const Batch&)>;

/// Returns in how many rows of logits [n, classes] the largest value (the first of equals) is at the class target [n].
double correct(const at::Tensor& logits, const at::Tensor& target);

/// Returns the metric that counts the samples which `net` classifies correctly. `net` is a TORCH_MODULE holder or shared_ptr with forward(Tensor) →
/// logits; the metric keeps a copy of it.
template <class Net>
Metric accuracy(Net net) {
  return [net](const Batch& batch) mutable {
    at::NoGradGuard no_grad;
    return correct(net->forward(batch.input), batch.target);
  };
}

}  // namespace cohaul::data
