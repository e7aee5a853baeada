// Compares the update rules with LibTorch's optimizers of the same name: 100 steps with random gradients.

#include <gtest/gtest.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <functional>

#include "cohaul/train/optimizer.h"
#include "cohaul/update/rule.h"

namespace cohaul::tests {
namespace {

using Peer = std::function<std::unique_ptr<torch::optim::Optimizer>(std::vector<torch::Tensor>)>;

struct Case {
  const char* name;
  train::Optimizer ours;
  Peer peer;
};

template <class Made, class Options>
Peer peer(Options options) {
  return [options](std::vector<torch::Tensor> p) { return std::make_unique<Made>(std::move(p), options); };
}

std::vector<Case> cases() {
  using namespace torch::optim;
  return {
      {"sgd", train::Sgd{.lr = 0.01}, peer<SGD>(SGDOptions(0.01))},
      {"sgd_weight_decay", train::Sgd{.lr = 0.01, .weight_decay = 0.1}, peer<SGD>(SGDOptions(0.01).weight_decay(0.1))},
      {"sgd_momentum", train::Sgd{.lr = 0.01, .momentum = 0.9}, peer<SGD>(SGDOptions(0.01).momentum(0.9))},
      {"sgd_dampening", train::Sgd{.lr = 0.01, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.01},
       peer<SGD>(SGDOptions(0.01).momentum(0.9).dampening(0.3).weight_decay(0.01))},
      {"sgd_nesterov", train::Sgd{.lr = 0.01, .momentum = 0.8, .weight_decay = 0.01, .nesterov = true},
       peer<SGD>(SGDOptions(0.01).momentum(0.8).weight_decay(0.01).nesterov(true))},
      {"adam", train::Adam{}, peer<Adam>(AdamOptions())},
      {"adam_all", train::Adam{.lr = 0.01, .beta1 = 0.8, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 0.1},
       peer<Adam>(AdamOptions(0.01).betas({0.8, 0.99}).eps(1e-6).weight_decay(0.1))},
      {"adamw", train::AdamW{}, peer<AdamW>(AdamWOptions())},
      {"adamw_all", train::AdamW{.lr = 0.01, .beta1 = 0.8, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 0.2},
       peer<AdamW>(AdamWOptions(0.01).betas({0.8, 0.99}).eps(1e-6).weight_decay(0.2))},
      {"adam_amsgrad", train::Adam{.lr = 0.01, .amsgrad = true}, peer<Adam>(AdamOptions(0.01).amsgrad(true))},
      {"adamw_amsgrad", train::AdamW{.lr = 0.01, .amsgrad = true}, peer<AdamW>(AdamWOptions(0.01).amsgrad(true))},
      {"adagrad", train::Adagrad{}, peer<Adagrad>(AdagradOptions())},
      {"adagrad_all",
       train::Adagrad{.lr = 0.05, .lr_decay = 0.1, .weight_decay = 0.1, .initial_accumulator = 0.5, .eps = 1e-6},
       peer<Adagrad>(AdagradOptions(0.05).lr_decay(0.1).weight_decay(0.1).initial_accumulator_value(0.5).eps(1e-6))},
      {"rmsprop", train::RMSprop{}, peer<RMSprop>(RMSpropOptions())},
      {"rmsprop_all",
       train::RMSprop{.lr = 0.001, .alpha = 0.9, .eps = 1e-4, .weight_decay = 0.1, .momentum = 0.8, .centered = true},
       peer<RMSprop>(RMSpropOptions(0.001).alpha(0.9).eps(1e-4).weight_decay(0.1).momentum(0.8).centered(true))},
  };
}

template <class T>
void expect_the_same(const Case& c) {
  constexpr std::int64_t kElements = 1031, kSteps = 100;
  auto options = torch::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value);
  torch::Tensor theirs = torch::randn({kElements}, options), ours = theirs.clone();
  auto optimizer = c.peer({theirs});
  auto rule = update::make_rule(c.ours.rule);
  std::vector<torch::Tensor> state(static_cast<std::size_t>(rule->states()), torch::Tensor());
  std::vector<T*> arrays;
  for (torch::Tensor& s : state) arrays.push_back((s = torch::zeros({kElements}, options)).template data_ptr<T>());
  for (std::int64_t step = 1; step <= kSteps; ++step) {
    torch::Tensor gradient = torch::randn({kElements}, options);
    theirs.mutable_grad() = gradient.clone();
    optimizer->step();
    rule->apply(gradient.data_ptr<T>(), ours.data_ptr<T>(), ours.data_ptr<T>(), arrays.data(), kElements,
                c.ours.rule.lr, step);
  }
  // The difference relative to the element, or to one if the element is near zero.
  double largest = ((ours - theirs).abs() / theirs.abs().clamp_min(1)).max().template item<double>();
  EXPECT_LT(largest, 1e-6) << c.name;
  EXPECT_GT((ours - torch::zeros_like(ours)).abs().max().template item<double>(), 0) << c.name;
}

TEST(Optimizers, EqualTorchOptimFor100StepsInFloat32) {
  torch::manual_seed(1);
  for (const Case& c : cases()) expect_the_same<float>(c);
}

TEST(Optimizers, EqualTorchOptimFor100StepsInFloat64) {
  torch::manual_seed(2);
  for (const Case& c : cases()) expect_the_same<double>(c);
}

}  // namespace
}  // namespace cohaul::tests
