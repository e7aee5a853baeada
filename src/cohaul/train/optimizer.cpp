#include "cohaul/train/optimizer.h"

#include <cmath>
#include <string>

namespace cohaul::train {

using Kind = update::RuleSettings::Kind;

/// What all rules have.
template <class T>
Optimizer::Optimizer(Kind kind, const T& o)
    : policy{o.clip_norm, o.clip_value, o.non_finite}, lr(o.lr), schedule(o.schedule) {
  rule.kind = kind;
  rule.weight_decay = o.weight_decay;
  if constexpr (requires { o.momentum; }) rule.momentum = o.momentum;
  if constexpr (requires { o.beta1; }) rule.beta1 = o.beta1, rule.beta2 = o.beta2;
  if constexpr (requires { o.eps; }) rule.eps = o.eps;
  if constexpr (requires { o.amsgrad; }) rule.amsgrad = o.amsgrad;
}

Optimizer::Optimizer(const Sgd& o) : Optimizer(Kind::sgd, o) {
  rule.dampening = o.dampening, rule.nesterov = o.nesterov;
}
Optimizer::Optimizer(const Adam& o) : Optimizer(Kind::adam, o) {}
Optimizer::Optimizer(const AdamW& o) : Optimizer(Kind::adamw, o) {}
Optimizer::Optimizer(const Adagrad& o) : Optimizer(Kind::adagrad, o) {
  rule.lr_decay = o.lr_decay, rule.initial_accumulator = o.initial_accumulator;
}
Optimizer::Optimizer(const RMSprop& o) : Optimizer(Kind::rmsprop, o) {
  rule.alpha = o.alpha, rule.centered = o.centered;
}
Optimizer::Optimizer(const Lion& o) : Optimizer(Kind::lion, o) {}

Status Optimizer::check() const {
  if (!std::isfinite(lr) || lr < 0)
    return invalid("lr is " + std::to_string(lr) + "; a learning rate is a number not below 0");
  COHAUL_TRY(rule.check());
  COHAUL_TRY(schedule.check());
  return policy.check();
}

}  // namespace cohaul::train
