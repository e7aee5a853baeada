#include "cohaul/update/optimizer_settings.h"

#include <string>

#include "cohaul/base/check.h"
#include "cohaul/base/digits.h"

namespace cohaul::update {

void OptimizerSettings::encode(Writer& out) const {
  out.put(static_cast<std::uint32_t>(groups.size()));
  for (const RuleSettings& rule : groups) rule.encode(out);
  schedule.encode(out);
  out.put(ema);
}

Result<OptimizerSettings> OptimizerSettings::decode(Reader& in) {
  OptimizerSettings s;
  s.groups.clear();
  const auto count = in.get<std::uint32_t>();
  if (!in.ok() || count == 0 || count > kGroupsMax) return corrupt("optimizer settings: no groups, or too many");
  for (std::uint32_t g = 0; g < count; ++g) {
    COHAUL_ASSIGN(RuleSettings rule, RuleSettings::decode(in));
    s.groups.push_back(rule);
  }
  COHAUL_ASSIGN(s.schedule, Schedule::decode(in));
  s.ema = in.get<double>();
  if (!in.ok()) return corrupt("optimizer settings: cut short");
  if (Status status = s.check(); !status.ok()) return corrupt("optimizer settings: " + status.message());
  return s;
}

Status OptimizerSettings::check() const {
  if (groups.empty() || groups.size() > kGroupsMax)
    return invalid("an optimizer has " + std::to_string(groups.size()) + " groups; it has from 1 to " +
                   std::to_string(kGroupsMax));
  for (const RuleSettings& rule : groups) {
    if (rule.kind != groups.front().kind) return invalid("the groups of an optimizer have different rules");
    COHAUL_TRY(rule.check());
  }
  if (!(ema >= 0 && ema < 1)) return invalid("ema is " + digits_of(ema) + "; it must be at least 0 and below 1");
  return schedule.check();
}

Rates::Rates(const OptimizerSettings& settings) : schedule_(settings.schedule) {
  for (const RuleSettings& rule : settings.groups) own_.push_back(rule.lr);
}

double Rates::at(std::size_t group, std::int64_t update) const {
  if (update != update_) {
    factor_ = schedule_.at(update);
    update_ = update;
  }
  return own_[group] * factor_;
}

void Rates::set(std::span<const double> rates) {
  COHAUL_CHECK(rates.size() == own_.size(), "each group has a rate");
  own_.assign(rates.begin(), rates.end());
}

}  // namespace cohaul::update
