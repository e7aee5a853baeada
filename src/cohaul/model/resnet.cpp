// He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition" (2015).

#include <ATen/ops/adaptive_avg_pool2d.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>

#include <string>

#include "cohaul/model/nets.h"
#include "cohaul/parallel/linear.h"

namespace cohaul::model {
namespace {

using torch::nn::BatchNorm2dImpl;
using torch::nn::Conv2dImpl;
using torch::nn::SequentialImpl;

/// Returns a convolution without a bias, because the norm after it has one.
std::shared_ptr<Conv2dImpl> conv(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride) {
  return std::make_shared<Conv2dImpl>(
      torch::nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(false));
}
std::shared_ptr<BatchNorm2dImpl> norm(std::int64_t channels) { return std::make_shared<BatchNorm2dImpl>(channels); }

/// Computes relu(F(x) + x), where F is two convolutions with norms. Where the shape changes, x goes through a 1×1 convolution with a norm.
class BasicBlock : public torch::nn::Module {
 public:
  BasicBlock(std::int64_t in, std::int64_t out, std::int64_t stride) {
    conv1_ = register_module("conv1", conv(in, out, 3, stride));
    bn1_ = register_module("bn1", norm(out));
    conv2_ = register_module("conv2", conv(out, out, 3, 1));
    bn2_ = register_module("bn2", norm(out));
    if (in == out && stride == 1) return;
    downsample_ = register_module("downsample", std::make_shared<SequentialImpl>(conv(in, out, 1, stride), norm(out)));
  }
  at::Tensor forward(const at::Tensor& x) {
    const at::Tensor inner = bn1_->forward(conv1_->forward(x)).relu_();
    const at::Tensor shortcut = downsample_ ? downsample_->forward(x) : x;
    return (bn2_->forward(conv2_->forward(inner)) + shortcut).relu_();
  }

 private:
  std::shared_ptr<Conv2dImpl> conv1_, conv2_;
  std::shared_ptr<BatchNorm2dImpl> bn1_, bn2_;
  std::shared_ptr<SequentialImpl> downsample_;  // null: the shape does not change
};

/// Parameters have the names of torchvision's resnet18.
class ResNet18 : public torch::nn::Module {
 public:
  ResNet18(const Sizes& sizes, parallel::Factory& factory) {
    std::int64_t channels = sizes.at("width");
    conv1_ = register_module("conv1", conv(1, channels, 3, 1));
    bn1_ = register_module("bn1", norm(channels));
    for (int stage = 1; stage <= 4; ++stage) {
      const std::int64_t in = channels, stride = stage == 1 ? 1 : 2;
      channels *= stride;
      stages_.push_back(
          register_module("layer" + std::to_string(stage),
                          std::make_shared<SequentialImpl>(std::make_shared<BasicBlock>(in, channels, stride),
                                                           std::make_shared<BasicBlock>(channels, channels, 1))));
    }
    fc_ = register_module("fc", factory.linear(channels, sizes.at("classes"), parallel::LinearKind::classes));
  }
  at::Tensor forward(const at::Tensor& input) {
    at::Tensor x = bn1_->forward(conv1_->forward(input)).relu_();
    for (const auto& stage : stages_) x = stage->forward(x);
    return fc_->forward(at::adaptive_avg_pool2d(x, {1, 1}).flatten(1));
  }

 private:
  std::shared_ptr<Conv2dImpl> conv1_;
  std::shared_ptr<BatchNorm2dImpl> bn1_;
  std::vector<std::shared_ptr<SequentialImpl>> stages_;
  std::shared_ptr<parallel::Linear> fc_;
};

}  // namespace

Net make_resnet18(const Sizes& sizes, parallel::Factory& factory) {
  return net_of(std::make_shared<ResNet18>(sizes, factory));
}

}  // namespace cohaul::model
