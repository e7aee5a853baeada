#include "cohaul/update/rule.h"

#include <charconv>
#include <cmath>

#include "cohaul/base/check.h"
#include "cohaul/update/rules.h"

namespace cohaul::update {
namespace {

Status wrong(const char* setting, double value, const char* must) {
  char text[32] = {};
  std::to_chars(text, text + sizeof text - 1, value);
  return invalid(std::string(setting) + " is " + text + "; it must be " + must);
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

std::string_view name(RuleSettings::Kind kind) {
  constexpr std::string_view kNames[] = {"sgd", "adam", "adamw", "store"};
  return kNames[static_cast<std::size_t>(kind)];
}

void RuleSettings::encode(Writer& out) const {
  out.put(kind).put(momentum).put(dampening).put(weight_decay).put(static_cast<std::uint8_t>(nesterov));
  out.put(beta1).put(beta2).put(eps);
}

Result<RuleSettings> RuleSettings::decode(Reader& in) {
  RuleSettings s;
  auto kind = in.get<std::uint8_t>();
  s.momentum = in.get<double>();
  s.dampening = in.get<double>();
  s.weight_decay = in.get<double>();
  auto nesterov = in.get<std::uint8_t>();
  s.beta1 = in.get<double>();
  s.beta2 = in.get<double>();
  s.eps = in.get<double>();
  if (!in.ok()) return corrupt("rule settings: cut short");
  if (kind > static_cast<std::uint8_t>(Kind::store) || nesterov > 1)
    return corrupt("rule settings: unknown rule or flag");
  s.kind = static_cast<Kind>(kind);
  s.nesterov = nesterov == 1;
  if (Status status = s.check(); !status.ok()) return corrupt("rule settings: " + status.message());
  return s;
}

Status RuleSettings::check() const {
  if (kind == Kind::store) return {};
  COHAUL_TRY(not_negative("weight_decay", weight_decay));
  if (kind == Kind::sgd) {
    COHAUL_TRY(not_negative("momentum", momentum));
    if (!std::isfinite(dampening)) return wrong("dampening", dampening, "a finite number");
    if (nesterov && (momentum == 0 || dampening != 0))
      return invalid("nesterov needs a momentum above 0 and dampening = 0");
    return {};
  }
  COHAUL_TRY(fraction("beta1", beta1));
  COHAUL_TRY(fraction("beta2", beta2));
  return not_negative("eps", eps);
}

std::unique_ptr<const Rule> make_rule(const RuleSettings& settings) {
  COHAUL_CHECK(settings.check().ok(), "settings of a rule are checked before it is made");
  switch (settings.kind) {
    case RuleSettings::Kind::sgd: return make_sgd(settings);
    case RuleSettings::Kind::adam: return make_adam(settings);
    case RuleSettings::Kind::adamw: return make_adamw(settings);
    case RuleSettings::Kind::store: return make_store(settings);
  }
  return nullptr;
}

}  // namespace cohaul::update
