#include "cohaul/update/rule_settings.h"

#include <cmath>
#include <string>

#include "cohaul/base/bytes.h"
#include "cohaul/base/digits.h"

namespace cohaul::update {
namespace {

Status wrong(const char* setting, double value, const char* must) {
  return invalid(std::string(setting) + " is " + digits_of(value) + "; it must be " + must);
}

Status not_negative(const char* setting, double value) {
  if (std::isfinite(value) && value >= 0) return {};
  return wrong(setting, value, "a number not below 0");
}

Status fraction(const char* setting, double value) {
  if (value >= 0 && value < 1) return {};
  return wrong(setting, value, "at least 0 and below 1");
}

}  // namespace

Status check_lr(double lr) { return not_negative("lr", lr); }

std::string_view name(RuleSettings::Kind kind) {
  constexpr std::string_view kNames[] = {"sgd", "adam", "adamw", "adagrad", "rmsprop", "lion", "lars", "lamb", "store"};
  return kNames[static_cast<std::size_t>(kind)];
}

void RuleSettings::encode(Writer& out) const {
  out.put(kind).put(lr).put(momentum).put(dampening).put(weight_decay).put(beta1).put(beta2).put(eps);
  out.put(lr_decay).put(initial_accumulator).put(alpha).put(trust_coefficient);
  for (const bool flag : {nesterov, amsgrad, centered, trust_ratio}) out.put(static_cast<std::uint8_t>(flag));
}

Result<RuleSettings> RuleSettings::decode(Reader& in) {
  RuleSettings s;
  const auto kind = in.get<std::uint8_t>();
  for (double* value : {&s.lr, &s.momentum, &s.dampening, &s.weight_decay, &s.beta1, &s.beta2, &s.eps, &s.lr_decay,
                        &s.initial_accumulator, &s.alpha, &s.trust_coefficient})
    *value = in.get<double>();
  bool known = kind <= static_cast<std::uint8_t>(Kind::store);
  for (bool* value : {&s.nesterov, &s.amsgrad, &s.centered, &s.trust_ratio}) {
    const auto flag = in.get<std::uint8_t>();
    known = known && flag <= 1;
    *value = flag == 1;
  }
  if (!in.ok()) return corrupt("rule settings: cut short");
  if (!known) return corrupt("rule settings: unknown rule or flag");
  s.kind = static_cast<Kind>(kind);
  if (Status status = s.check(); !status.ok()) return corrupt("rule settings: " + status.message());
  return s;
}

Status RuleSettings::check() const {
  COHAUL_TRY(check_lr(lr));
  if (kind == Kind::store) return {};  // it uses none of the others
  COHAUL_TRY(not_negative("weight_decay", weight_decay));
  COHAUL_TRY(not_negative("momentum", momentum));
  COHAUL_TRY(not_negative("eps", eps));
  COHAUL_TRY(not_negative("lr_decay", lr_decay));
  COHAUL_TRY(not_negative("initial_accumulator", initial_accumulator));
  COHAUL_TRY(not_negative("alpha", alpha));
  COHAUL_TRY(not_negative("trust_coefficient", trust_coefficient));
  COHAUL_TRY(fraction("beta1", beta1));
  COHAUL_TRY(fraction("beta2", beta2));
  if (!std::isfinite(dampening)) return wrong("dampening", dampening, "a finite number");
  if (nesterov && (momentum == 0 || dampening != 0))
    return invalid("nesterov needs a momentum above 0 and dampening = 0");
  return {};
}

}  // namespace cohaul::update
