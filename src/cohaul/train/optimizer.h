#pragma once
// Update rules as the user names them: torch.optim's names, meanings and defaults.

#include "cohaul/update/rule.h"

namespace cohaul::train {

struct Sgd {
  double lr = 1e-3, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false;
};
struct Adam {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
};
struct AdamW {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 1e-2;
};

/// Any of them. Implicit, so that `cohaul::Sgd{.lr = 0.01}` is an optimizer.
struct Optimizer {
  update::RuleSettings rule;
  update::StepSettings settings;

  Optimizer(const Sgd& o) : settings{o.lr} {
    rule.kind = update::RuleSettings::Kind::sgd;
    rule.momentum = o.momentum, rule.dampening = o.dampening, rule.weight_decay = o.weight_decay,
    rule.nesterov = o.nesterov;
  }
  Optimizer(const Adam& o) : Optimizer(update::RuleSettings::Kind::adam, o) {}
  Optimizer(const AdamW& o) : Optimizer(update::RuleSettings::Kind::adamw, o) {}

 private:
  template <class T>
  Optimizer(update::RuleSettings::Kind kind, const T& o) : settings{o.lr} {
    rule.kind = kind;
    rule.beta1 = o.beta1, rule.beta2 = o.beta2, rule.eps = o.eps, rule.weight_decay = o.weight_decay;
  }
};

}  // namespace cohaul::train
