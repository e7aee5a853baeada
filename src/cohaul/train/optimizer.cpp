#include "cohaul/train/optimizer.h"

#include <algorithm>
#include <initializer_list>
#include <string>

#include "cohaul/update/optimizer_settings.h"

namespace cohaul::train {

using Kind = update::RuleSettings::Kind;

/// Takes over the settings that all rules have.
template <class T>
Optimizer::Optimizer(Kind kind, const T& o)
    : policy{o.clip_norm, o.clip_value, o.non_finite}, schedule(o.schedule), groups(o.groups) {
  rule.kind = kind;
  rule.lr = o.lr;
  rule.weight_decay = o.weight_decay;
  if constexpr (requires { o.momentum; }) rule.momentum = o.momentum;
  if constexpr (requires { o.beta1; }) rule.beta1 = o.beta1, rule.beta2 = o.beta2;
  if constexpr (requires { o.eps; }) rule.eps = o.eps;
  if constexpr (requires { o.amsgrad; }) rule.amsgrad = o.amsgrad;
  if constexpr (requires { o.trust_ratio; }) rule.trust_ratio = o.trust_ratio;
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
Optimizer::Optimizer(const Lars& o) : Optimizer(Kind::lars, o) { rule.trust_coefficient = o.trust_coefficient; }
Optimizer::Optimizer(const Lamb& o) : Optimizer(Kind::lamb, o) {}

namespace {

/// Returns a setting of a group that its rule does not have; empty if there is none.
std::string foreign_setting(const ParameterGroup& g, Kind kind) {
  const auto is = [&](std::initializer_list<Kind> kinds) { return std::ranges::find(kinds, kind) != kinds.end(); };
  const bool adam = is({Kind::adam, Kind::adamw}), layerwise = is({Kind::lars, Kind::lamb});
  if (g.momentum && !is({Kind::sgd, Kind::rmsprop, Kind::lars})) return "momentum";
  if (g.dampening && !is({Kind::sgd})) return "dampening";
  if (g.nesterov && !is({Kind::sgd})) return "nesterov";
  if (g.beta1 && !adam && !is({Kind::lion, Kind::lamb})) return "beta1";
  if (g.beta2 && !adam && !is({Kind::lion, Kind::lamb})) return "beta2";
  if (g.eps && !adam && !is({Kind::adagrad, Kind::rmsprop, Kind::lamb})) return "eps";
  if (g.amsgrad && !adam) return "amsgrad";
  if (g.alpha && !is({Kind::rmsprop})) return "alpha";
  if (g.centered && !is({Kind::rmsprop})) return "centered";
  if (g.lr_decay && !is({Kind::adagrad})) return "lr_decay";
  if (g.initial_accumulator && !is({Kind::adagrad})) return "initial_accumulator";
  if (g.trust_coefficient && !is({Kind::lars})) return "trust_coefficient";
  if (g.trust_ratio && !layerwise) return "trust_ratio";
  return {};
}

Result<update::RuleSettings> rule_of(const ParameterGroup& g, update::RuleSettings rule) {
  if (const std::string name = foreign_setting(g, rule.kind); !name.empty())
    return invalid(name + " is not a setting of " + std::string(update::name(rule.kind)));
  if (g.match.empty()) return invalid("match is empty: give patterns of parameters' names, such as \"*.bias\"");
  const auto take = [](auto& to, const auto& from) { to = from.value_or(to); };
  take(rule.lr, g.lr), take(rule.weight_decay, g.weight_decay), take(rule.momentum, g.momentum);
  take(rule.dampening, g.dampening), take(rule.beta1, g.beta1), take(rule.beta2, g.beta2), take(rule.eps, g.eps);
  take(rule.alpha, g.alpha), take(rule.lr_decay, g.lr_decay), take(rule.initial_accumulator, g.initial_accumulator);
  take(rule.nesterov, g.nesterov), take(rule.amsgrad, g.amsgrad), take(rule.centered, g.centered);
  take(rule.trust_coefficient, g.trust_coefficient), take(rule.trust_ratio, g.trust_ratio);
  COHAUL_TRY(rule.check());
  return rule;
}

}  // namespace

Result<update::OptimizerSettings> Optimizer::settings() const {
  COHAUL_TRY(rule.check());
  update::OptimizerSettings out(rule);
  out.schedule = schedule;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    Result<update::RuleSettings> of_group = rule_of(groups[g], rule);
    if (!of_group.ok()) return of_group.status().context("optimizer.group." + std::to_string(g));
    out.groups.push_back(*of_group);
  }
  COHAUL_TRY(out.check());
  return out;
}

Status Optimizer::check() const {
  COHAUL_TRY(settings().status());
  return policy.check();
}

}  // namespace cohaul::train
