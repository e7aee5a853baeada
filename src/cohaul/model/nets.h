#pragma once
// The zoo's modules. (Includes torch/nn/module.h, which is slow to compile: only for source files.)

#include <torch/nn/module.h>

#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "cohaul/parallel/factory.h"

namespace cohaul::model {

/// A module, and its function from inputs [n, …] to logits [n, this rank's classes].
struct Net {
  std::shared_ptr<torch::nn::Module> module;
  std::function<at::Tensor(const at::Tensor&)> forward;
};

/// Returns the Net of a module that has a member forward(Tensor).
template <class Module>
Net net_of(std::shared_ptr<Module> module) {
  auto forward = [m = module.get()](const at::Tensor& input) { return m->forward(input); };
  return {std::move(module), forward};
}

/// Every size of the model by its key.
using Sizes = std::map<std::string_view, std::int64_t>;

Net make_softmax(const Sizes& sizes, parallel::Factory& factory);
Net make_mlp(const Sizes& sizes, parallel::Factory& factory);
Net make_cnn(const Sizes& sizes, parallel::Factory& factory);
Net make_resnet18(const Sizes& sizes, parallel::Factory& factory);  // resnet.cpp
Net make_deep(const Sizes& sizes, parallel::Factory& factory);      // deep.cpp

}  // namespace cohaul::model
