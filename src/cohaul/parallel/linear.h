#pragma once
// The linear layer of the factories. (Includes torch/nn/module.h, which is slow to compile: only for source files.)

#include <torch/nn/module.h>

#include <vector>

#include "cohaul/parallel/split.h"

namespace cohaul::parallel {

/// Computes y = x Wᵀ + b. Names (weight, bias), shapes, default initialisation and the use of torch's generator are those of torch::nn::Linear. Over
/// a group of more than one rank it is column-parallel: this rank keeps the outputs of its part_of() the whole layer, which all ranks draw from the
/// same seed, and backward adds the ranks' gradients of x.
class Linear : public torch::nn::Module {
 public:
  /// group: the ranks that the layer is split over, which must outlive it; null: the layer is whole. Every rank must have seeded torch's generator
  /// alike.
  Linear(std::int64_t in, std::int64_t out, collective::Group* group = nullptr);

  /// Returns [n, outputs().size()]. x: [n, in], the same on every rank. Over a group every rank must call it, and backward, in the same order; blocks
  /// as the group does; throws Error.
  at::Tensor forward(const at::Tensor& x);
  const Part& outputs() const { return outputs_; }

  at::Tensor weight;  // [outputs, in]
  at::Tensor bias;    // [outputs]

 private:
  Part outputs_;
  collective::Group* group_;
};

/// Returns those parameters of a module of which each rank holds only a part. A shared_ptr must own the module.
std::vector<SplitParameter> split_parameters(const torch::nn::Module& module);

}  // namespace cohaul::parallel
