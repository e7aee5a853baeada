// He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks" (2016): the order of norm, ReLU and layer. Ba, Kiros, Hinton, "Layer
// Normalization" (2016).

#include <ATen/ops/relu.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/normalization.h>

#include "cohaul/model/nets.h"
#include "cohaul/parallel/linear.h"

namespace cohaul::model {
namespace {

using parallel::Linear;
using parallel::LinearKind;
using torch::nn::LayerNormImpl;

/// Returns a layer norm; null if the model has none.
std::shared_ptr<LayerNormImpl> norm_of(const Sizes& sizes) {
  if (sizes.at("norm") == 0) return nullptr;
  return std::make_shared<LayerNormImpl>(torch::nn::LayerNormOptions({sizes.at("width")}));
}

/// f(x), or x + f(x) with a residual, where f is a layer norm if there is one, ReLU, and a linear layer.
class Layer : public torch::nn::Module {
 public:
  Layer(const Sizes& sizes, parallel::Factory& factory) : residual_(sizes.at("residual") == 1) {
    const std::int64_t width = sizes.at("width");
    if ((norm_ = norm_of(sizes))) register_module("norm", norm_);
    linear_ = register_module("linear", factory.linear(width, width, LinearKind::hidden));
  }
  at::Tensor forward(const at::Tensor& x) {
    const at::Tensor f = linear_->forward(at::relu(norm_ ? norm_->forward(x) : x));
    return residual_ ? x + f : f;
  }

 private:
  const bool residual_;
  std::shared_ptr<LayerNormImpl> norm_;
  std::shared_ptr<Linear> linear_;
};

class Deep : public torch::nn::Module {
 public:
  Deep(const Sizes& sizes, parallel::Factory& factory) {
    in_ = register_module("in", factory.linear(sizes.at("inputs"), sizes.at("width"), LinearKind::hidden));
    auto list = register_module("layers", std::make_shared<torch::nn::ModuleListImpl>());
    for (std::int64_t i = 0; i < sizes.at("depth"); ++i) {
      layers_.push_back(std::make_shared<Layer>(sizes, factory));
      list->push_back(layers_.back());
    }
    if ((norm_ = norm_of(sizes))) register_module("norm", norm_);
    out_ = register_module("out", factory.linear(sizes.at("width"), sizes.at("classes"), LinearKind::classes));
  }
  at::Tensor forward(const at::Tensor& input) {
    at::Tensor x = in_->forward(input.flatten(1));
    for (const auto& layer : layers_) x = layer->forward(x);
    return out_->forward(at::relu(norm_ ? norm_->forward(x) : x));
  }

 private:
  std::shared_ptr<Linear> in_, out_;
  std::vector<std::shared_ptr<Layer>> layers_;
  std::shared_ptr<LayerNormImpl> norm_;
};

}  // namespace

Net make_deep(const Sizes& sizes, parallel::Factory& factory) { return net_of(std::make_shared<Deep>(sizes, factory)); }

}  // namespace cohaul::model
