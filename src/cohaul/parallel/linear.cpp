#include "cohaul/parallel/linear.h"

#include <ATen/ops/linear.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/nn/modules/linear.h>

#include "cohaul/base/error.h"
#include "cohaul/collective/group.h"

namespace cohaul::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// Identity forward; backward sums the gradients that the ranks' parts of the layer give to their common input.
struct CommonInput : torch::autograd::Function<CommonInput> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, collective::Group* group) {
    context->saved_data["group"] = reinterpret_cast<std::int64_t>(group);
    return x.view_as(x);
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradient) {
    auto* group = reinterpret_cast<collective::Group*>(context->saved_data["group"].toInt());
    at::Tensor sum = gradient[0].clone(at::MemoryFormat::Contiguous);
    or_throw(group->all_reduce(buffer(sum)).context("gradients of a split layer's input"));
    return {sum, at::Tensor()};
  }
};

}  // namespace

Linear::Linear(std::int64_t in, std::int64_t out, collective::Group* group)
    : outputs_(group ? part_of(out, group->rank(), group->size()) : part_of(out, 0, 1)), group_(group) {
  torch::nn::LinearImpl whole(in, out);
  auto mine = [&](const at::Tensor& t) {
    return outputs_.size() == out ? t.detach() : t.detach().narrow(0, outputs_.begin, outputs_.size()).clone();
  };
  weight = register_parameter("weight", mine(whole.weight));
  bias = register_parameter("bias", mine(whole.bias));
}

at::Tensor Linear::forward(const at::Tensor& x) {
  bool split = group_ != nullptr && group_->size() > 1;
  return at::linear(split && x.requires_grad() ? CommonInput::apply(x, group_) : x, weight, bias);
}

std::vector<SplitParameter> split_parameters(const torch::nn::Module& module) {
  std::vector<SplitParameter> out;
  for (const auto& item : module.named_modules()) {
    const auto* linear = item.value()->as<Linear>();
    if (linear == nullptr || linear->outputs().size() == linear->outputs().whole) continue;
    for (const char* name : {"weight", "bias"}) {
      out.push_back({item.key().empty() ? name : item.key() + "." + name, 0, linear->outputs()});
    }
  }
  return out;
}

}  // namespace cohaul::parallel
