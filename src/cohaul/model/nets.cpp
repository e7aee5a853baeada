#include "cohaul/model/nets.h"

#include <ATen/ops/max_pool2d.h>
#include <torch/nn/modules/conv.h>

#include <string>
#include <vector>

#include "cohaul/parallel/linear.h"

namespace cohaul::model {
namespace {

using parallel::Linear;
using parallel::LinearKind;

/// Parameters have the names of torch::nn::Sequential(Linear, ReLU, …, Linear).
class Mlp : public torch::nn::Module {
 public:
  Mlp(const Sizes& sizes, parallel::Factory& factory) {
    std::int64_t in = sizes.at("inputs"), depth = sizes.at("depth");
    for (std::int64_t i = 0; i <= depth; ++i) {
      bool last = i == depth;
      std::int64_t out = sizes.at(last ? "classes" : "width");
      auto layer = factory.linear(in, out, last ? LinearKind::classes : LinearKind::hidden);
      layers_.push_back(register_module(std::to_string(2 * i), std::move(layer)));
      in = out;
    }
  }
  at::Tensor forward(const at::Tensor& input) {
    at::Tensor x = input.flatten(1);
    for (std::size_t i = 0; i + 1 < layers_.size(); ++i) x = layers_[i]->forward(x).relu_();
    return layers_.back()->forward(x);
  }

 private:
  std::vector<std::shared_ptr<Linear>> layers_;
};

/// Parameters have the names of Sequential(Conv2d, ReLU, MaxPool2d, Conv2d, ReLU, MaxPool2d, Flatten, Linear, ReLU, Linear).
class Cnn : public torch::nn::Module {
 public:
  Cnn(const Sizes& sizes, parallel::Factory& factory) {
    constexpr std::int64_t kHidden = 512;
    const std::int64_t features = 64 * (sizes.at("rows") / 4) * (sizes.at("columns") / 4);
    first_ =
        register_module("0", std::make_shared<torch::nn::Conv2dImpl>(torch::nn::Conv2dOptions(1, 32, 5).padding(2)));
    second_ =
        register_module("3", std::make_shared<torch::nn::Conv2dImpl>(torch::nn::Conv2dOptions(32, 64, 5).padding(2)));
    hidden_ = register_module("7", factory.linear(features, kHidden, LinearKind::hidden));
    last_ = register_module("9", factory.linear(kHidden, sizes.at("classes"), LinearKind::classes));
  }
  at::Tensor forward(const at::Tensor& input) {
    at::Tensor x = at::max_pool2d(first_->forward(input).relu_(), 2);  // [n, 32, rows / 2, columns / 2]
    x = at::max_pool2d(second_->forward(x).relu_(), 2);                // [n, 64, rows / 4, columns / 4]
    return last_->forward(hidden_->forward(x.flatten(1)).relu_());
  }

 private:
  std::shared_ptr<torch::nn::Conv2dImpl> first_, second_;
  std::shared_ptr<Linear> hidden_, last_;
};

}  // namespace

Net make_softmax(const Sizes& sizes, parallel::Factory& factory) {
  // The layer itself is the module, so its parameters are named "weight" and "bias".
  auto linear = factory.linear(sizes.at("inputs"), sizes.at("classes"), LinearKind::classes);
  return {linear, [l = linear.get()](const at::Tensor& input) { return l->forward(input.flatten(1)); }};
}
Net make_mlp(const Sizes& sizes, parallel::Factory& factory) { return net_of(std::make_shared<Mlp>(sizes, factory)); }
Net make_cnn(const Sizes& sizes, parallel::Factory& factory) { return net_of(std::make_shared<Cnn>(sizes, factory)); }

}  // namespace cohaul::model
