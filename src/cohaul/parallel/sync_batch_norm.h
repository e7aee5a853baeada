#pragma once
// Batch normalisation by the statistics of the whole batch of a step, over all workers (Ioffe and Szegedy, "Batch Normalization", 2015; as
// torch.nn.SyncBatchNorm does). (Includes torch/nn/module.h, which is slow to compile: only for source files.)

#include <torch/nn/module.h>
#include <torch/nn/options/batchnorm.h>
#include <torch/nn/pimpl.h>

#include "cohaul/collective/group.h"
#include "cohaul/parallel/whole_batch.h"

namespace cohaul::parallel {

/// Names, options and defaults of torch::nn::BatchNorm1d and 2d. In training every worker calls forward once for each step, in one order, and
/// backward once; blocks as the group does; throws Error. In evaluation nothing is exchanged. Statistics are computed in float64. Workers may
/// have batches of unequal size, but their losses must weigh as the sizes do. Differentiable once.
class SyncBatchNorm : public torch::nn::Module, public WholeBatch {
 public:
  void reset_parameters();

  at::Tensor weight, bias;               // [features]; undefined where options.affine() is false
  at::Tensor running_mean, running_var;  // [features]
  at::Tensor num_batches_tracked;        // int64

 protected:
  /// group: of all workers; null: this one alone. Outlives the module. Throws std::invalid_argument: without running statistics.
  SyncBatchNorm(const torch::nn::BatchNormOptions& options, collective::Group* group);
  at::Tensor normalise(const at::Tensor& x);

 private:
  torch::nn::BatchNormOptions options_;
  collective::Group* group_;
};

class SyncBatchNorm1dImpl : public SyncBatchNorm {
 public:
  explicit SyncBatchNorm1dImpl(const torch::nn::BatchNorm1dOptions& options, collective::Group* group = nullptr)
      : SyncBatchNorm(options, group) {}
  /// x: [n, features] or [n, features, length]
  at::Tensor forward(const at::Tensor& x);
};
TORCH_MODULE(SyncBatchNorm1d);

class SyncBatchNorm2dImpl : public SyncBatchNorm {
 public:
  explicit SyncBatchNorm2dImpl(const torch::nn::BatchNorm2dOptions& options, collective::Group* group = nullptr)
      : SyncBatchNorm(options, group) {}
  /// x: [n, features, height, width]
  at::Tensor forward(const at::Tensor& x);
};
TORCH_MODULE(SyncBatchNorm2d);

}  // namespace cohaul::parallel
