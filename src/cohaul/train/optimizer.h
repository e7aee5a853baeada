#pragma once
// The optimizers that a user can choose. Names, meanings and defaults are those of torch.optim.

#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/update/gradient_policy.h"
#include "cohaul/update/rule_settings.h"
#include "cohaul/update/schedule.h"

namespace cohaul::update {
struct OptimizerSettings;
}

namespace cohaul::train {

using update::NonFinite;
using update::Schedule;

// Every rule has these settings:
//   clip_norm   > 0: the mean gradients of a step are scaled so that their norm together is at most this (torch::nn::utils::clip_grad_norm_)
//   clip_value  > 0: every element of the mean gradients is limited to ± this (clip_grad_value_)
//   non_finite  what happens when a gradient has an infinity or a NaN. apply: the update is made, as torch::optim does; stop: an error names
//               parameter, worker and step; skip: the step makes no update
//   schedule    multiplies the learning rates by a factor that depends on the number of the update
//   groups      parameters that have settings of their own; the first group that matches a parameter's name applies

/// A group of parameters, as in torch.optim. A setting that has no value here is that of the rule.
struct ParameterGroup {
  /// Patterns of parameter names, such as "*.bias" or "head.*": * stands for any characters, ? for one, [abc] for one of these. A tied parameter is
  /// matched by any of its names. Each pattern must match at least one parameter.
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

// LARS and LAMB multiply each parameter's rate with a trust ratio: the norm of its values divided by the norm of what would be added to it. Norms are
// over one parameter as it is registered (what the papers call a layer is one weight or one bias here). The ratio is 1 where one of the norms is 0.
// Biases and norm layers are usually excluded by a group of their own, whose rate is then lr itself:
// {.match = {"*.bias", "*norm*"}, .weight_decay = 0, .trust_ratio = false}. One owner updates the whole of a parameter, so a parameter that is much
// larger than all others together leaves the other owners idle.

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
/// r is Adam's step without the rate; w −= lr · ‖w‖ / ‖r + weight_decay · w‖ · (r + weight_decay · w).
/// (You et al., "Large batch optimization for deep learning", 2020, algorithm 2, with φ(z) = z.)
struct Lamb {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-6, weight_decay = 1e-2;
  bool trust_ratio = true;
  double clip_norm = 0, clip_value = 0;
  NonFinite non_finite = NonFinite::apply;
  Schedule schedule{};
  std::vector<ParameterGroup> groups{};
};

/// Any of the optimizers above. The conversions are implicit, so `cohaul::Sgd{.lr = 0.01}` can be passed as an Optimizer.
struct Optimizer {
  update::RuleSettings rule;  // for the parameters that no group matches
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

  /// Returns the rule of the parameters that no group matches, then one rule for each group. Errors: invalid, naming group and setting.
  Result<update::OptimizerSettings> settings() const;
  /// Returns invalid, naming the setting, where a value is not allowed: a rate below 0 or not a number, …
  Status check() const;

 private:
  template <class T>
  Optimizer(update::RuleSettings::Kind kind, const T& o);
};

}  // namespace cohaul::train
