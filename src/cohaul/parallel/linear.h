#pragma once
// The linear layer of the factories. (Includes torch/nn/module.h, which is slow to compile: only for source files.)

#include <torch/nn/module.h>

#include <vector>

#include "cohaul/parallel/split.h"

namespace cohaul::parallel {

/// y = x Wᵀ + b, with torch::nn::Linear's names (weight, bias), shapes and default initialisation, drawn from torch's generator alike.
/// Over a group of more than one rank it is column-parallel: this rank keeps the outputs of its part_of, cut from the whole layer that
/// the same seed gives; backward adds the ranks' gradients of x.
class Linear : public torch::nn::Module {
 public:
  /// group: null: whole; must outlive the layer. Every rank must draw with the same seed.
  Linear(std::int64_t in, std::int64_t out, collective::Group* group = nullptr);

  /// x: [n, in], the same on every rank; returns [n, outputs().size()]. Over a group every rank calls it, and backward, in one order; blocks as the group
  /// does; throws Error.
  at::Tensor forward(const at::Tensor& x);
  const Part& outputs() const { return outputs_; }

  at::Tensor weight;  // [outputs, in]
  at::Tensor bias;    // [outputs]

 private:
  Part outputs_;
  collective::Group* group_;
};

/// Those of a module's parameters of which each rank holds a part. The module must be owned by a shared_ptr.
std::vector<SplitParameter> split_parameters(const torch::nn::Module& module);

}  // namespace cohaul::parallel
