#pragma once
// Update rules as the user names them: torch.optim's names, meanings and defaults.

#include "cohaul/base/status.h"
#include "cohaul/update/gradient_policy.h"
#include "cohaul/update/rule.h"

namespace cohaul::train {

using update::NonFinite;

// What is done with the mean gradient of a step before the update, in every rule:
//   clip_norm   > 0: the norm of all gradients together is at most this (torch::nn::utils::clip_grad_norm_)
//   clip_value  > 0: every element lies within ± this (clip_grad_value_)
//   non_finite  apply: update all the same, as torch::optim does; stop: an error that names parameter, worker and step; skip: no update

struct Sgd {
  double lr = 1e-3, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false;
  double clip_norm = 0, clip_value = 0;
  NonFinite non_finite = NonFinite::apply;
};
struct Adam {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  double clip_norm = 0, clip_value = 0;
  NonFinite non_finite = NonFinite::apply;
};
struct AdamW {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 1e-2;
  double clip_norm = 0, clip_value = 0;
  NonFinite non_finite = NonFinite::apply;
};

/// Any of them. Implicit, so that `cohaul::Sgd{.lr = 0.01}` is an optimizer.
struct Optimizer {
  update::RuleSettings rule;
  update::GradientPolicy policy;
  update::StepSettings settings;

  Optimizer(const Sgd& o) : policy{o.clip_norm, o.clip_value, o.non_finite}, settings{o.lr} {
    rule.kind = update::RuleSettings::Kind::sgd;
    rule.momentum = o.momentum, rule.dampening = o.dampening, rule.weight_decay = o.weight_decay,
    rule.nesterov = o.nesterov;
  }
  Optimizer(const Adam& o) : Optimizer(update::RuleSettings::Kind::adam, o) {}
  Optimizer(const AdamW& o) : Optimizer(update::RuleSettings::Kind::adamw, o) {}

  /// invalid, naming the setting: a rate below 0 or not a number, …
  Status check() const;

 private:
  template <class T>
  Optimizer(update::RuleSettings::Kind kind, const T& o)
      : policy{o.clip_norm, o.clip_value, o.non_finite}, settings{o.lr} {
    rule.kind = kind;
    rule.beta1 = o.beta1, rule.beta2 = o.beta2, rule.eps = o.eps, rule.weight_decay = o.weight_decay;
  }
};

}  // namespace cohaul::train
