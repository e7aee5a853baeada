#pragma once
// Batch normalisation with the statistics of the whole batch of a step, over all workers, as torch.nn.SyncBatchNorm (Ioffe and Szegedy, "Batch
// Normalization", 2015). (Includes torch/nn/module.h, which is slow to compile: only for source files.)

#include <torch/nn/module.h>
#include <torch/nn/options/batchnorm.h>
#include <torch/nn/pimpl.h>

#include "cohaul/parallel/whole_batch.h"

namespace cohaul::collective {
class Group;
}

namespace cohaul::parallel {

/// The base of the classes below. Names, options and defaults are those of torch::nn::BatchNorm1d and 2d. In training every worker must call forward
/// and backward once for each step, in the same order; they block as the group does and throw Error. In evaluation nothing is exchanged.
/// Statistics are computed in float64. Workers may have batches of unequal size if their losses are weighted by the sizes. Differentiable once.
class SyncBatchNorm : public torch::nn::Module, public WholeBatch {
 public:
  void reset_parameters();

  at::Tensor weight, bias;               // [features]; undefined where options.affine() is false
  at::Tensor running_mean, running_var;  // [features]
  at::Tensor num_batches_tracked;        // int64

 protected:
  /// group: all workers of the job, which must outlive the module; null: this worker alone. Throws std::invalid_argument if the options have no
  /// running statistics.
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
