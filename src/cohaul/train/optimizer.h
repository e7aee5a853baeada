#pragma once
// Update rules as the user names them: torch.optim's names, meanings and defaults.

#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/update/gradient_policy.h"
#include "cohaul/update/optimizer_settings.h"
#include "cohaul/update/rule.h"
#include "cohaul/update/schedule.h"

namespace cohaul::train {

using update::NonFinite;
using update::Schedule;

// What is done with the mean gradient of a step before the update, in every rule:
//   clip_norm   > 0: the norm of all gradients together is at most this (torch::nn::utils::clip_grad_norm_)
//   clip_value  > 0: every element lies within ± this (clip_grad_value_)
//   non_finite  apply: update all the same, as torch::optim does; stop: an error that names parameter, worker and step; skip: no update
//   schedule    of the learning rates, by the number of the update; the rates of the settings are what it multiplies
//   groups      of parameters that are trained otherwise than the rest; the first that matches a parameter's name wins

/// A group of parameters, as torch.optim's. What is not set is the rule's.
struct ParameterGroup {
  /// Patterns of names ("*.bias", "head.*"): * stands for any characters, ? for one, [abc] for one of them. A tied parameter is matched by each of
  /// its names. Each pattern matches a parameter.
  std::vector<std::string> match{};
  std::optional<double> lr{}, weight_decay{}, momentum{}, dampening{}, beta1{}, beta2{}, eps{}, alpha{}, lr_decay{},
      initial_accumulator{}, trust_coefficient{};
  std::optional<bool> nesterov{}, amsgrad{}, centered{}, trust_ratio{};
};

struct Sgd {
  double lr = 1e-3, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false;
  double clip_norm = 0, clip_value = 0;
  NonFinite non_finite = NonFinite::apply;
  Schedule schedule{};
  std::vector<ParameterGroup> groups{};
};
struct Adam {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool amsgrad = false;
  double clip_norm = 0, clip_value = 0;
  NonFinite non_finite = NonFinite::apply;
  Schedule schedule{};
  std::vector<ParameterGroup> groups{};
};
struct AdamW {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 1e-2;
  bool amsgrad = false;
  double clip_norm = 0, clip_value = 0;
  NonFinite non_finite = NonFinite::apply;
  Schedule schedule{};
  std::vector<ParameterGroup> groups{};
};
struct Adagrad {
  double lr = 1e-2, lr_decay = 0, weight_decay = 0, initial_accumulator = 0, eps = 1e-10;
  double clip_norm = 0, clip_value = 0;
  NonFinite non_finite = NonFinite::apply;
  Schedule schedule{};
  std::vector<ParameterGroup> groups{};
};
struct RMSprop {
  double lr = 1e-2, alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0;
  bool centered = false;
  double clip_norm = 0, clip_value = 0;
  NonFinite non_finite = NonFinite::apply;
  Schedule schedule{};
  std::vector<ParameterGroup> groups{};
};
/// (Chen et al., "Symbolic discovery of optimization algorithms", 2023.)
struct Lion {
  double lr = 1e-4, beta1 = 0.9, beta2 = 0.99, weight_decay = 0;
  double clip_norm = 0, clip_value = 0;
  NonFinite non_finite = NonFinite::apply;
  Schedule schedule{};
  std::vector<ParameterGroup> groups{};
};

// LARS and LAMB multiply a parameter's rate with a trust ratio: how large its values are beside what would move them, by norms over the whole
// parameter (as it is registered: a "layer" of the papers is one weight or bias). It is 1 where a norm is 0. Biases and norms are usually left out,
// by a group of their own: {.match = {"*.bias", "*norm*"}, .weight_decay = 0, .trust_ratio = false}, whose rate is then lr itself. A parameter
// is updated by one owner, so one that is much larger than all others together leaves the other owners idle.

/// λ = trust_coefficient · ‖w‖ / (‖g‖ + weight_decay · ‖w‖);  v = momentum · v + lr · λ · (g + weight_decay · w);  w −= v.
/// (You, Gitman, Ginsburg, "Large batch training of convolutional networks", 2017, algorithm 1.)
struct Lars {
  double lr = 1, momentum = 0.9, weight_decay = 5e-4, trust_coefficient = 1e-3;
  bool trust_ratio = true;
  double clip_norm = 0, clip_value = 0;
  NonFinite non_finite = NonFinite::apply;
  Schedule schedule{};
  std::vector<ParameterGroup> groups{};
};
/// Adam's direction r, and w −= lr · ‖w‖ / ‖r + weight_decay · w‖ · (r + weight_decay · w).
/// (You et al., "Large batch optimization for deep learning", 2020, algorithm 2, with φ(z) = z.)
struct Lamb {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-6, weight_decay = 1e-2;
  bool trust_ratio = true;
  double clip_norm = 0, clip_value = 0;
  NonFinite non_finite = NonFinite::apply;
  Schedule schedule{};
  std::vector<ParameterGroup> groups{};
};

/// Any of them. Implicit, so that `cohaul::Sgd{.lr = 0.01}` is an optimizer.
struct Optimizer {
  update::RuleSettings rule;  // of the parameters that no group matches
  update::GradientPolicy policy;
  Schedule schedule;
  std::vector<ParameterGroup> groups;

  Optimizer(const Sgd& o);
  Optimizer(const Adam& o);
  Optimizer(const AdamW& o);
  Optimizer(const Adagrad& o);
  Optimizer(const RMSprop& o);
  Optimizer(const Lion& o);
  Optimizer(const Lars& o);
  Optimizer(const Lamb& o);

  /// The rule of the rest, then one for each group. Errors: invalid, naming group and setting.
  Result<update::OptimizerSettings> settings() const;
  /// invalid, naming the setting: a rate below 0 or not a number, …
  Status check() const;

 private:
  template <class T>
  Optimizer(update::RuleSettings::Kind kind, const T& o);
};

}  // namespace cohaul::train
