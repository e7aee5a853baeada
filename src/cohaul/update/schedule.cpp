#include "cohaul/update/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>

#include "cohaul/base/bytes.h"
#include "cohaul/base/digits.h"
#include "cohaul/base/limits.h"

namespace cohaul::update {
namespace {

constexpr std::array<std::string_view, 10> kNames = {"constant",  "step",     "multistep",  "exponential",
                                                     "cosine",    "restarts", "polynomial", "inverse_sqrt",
                                                     "one_cycle", "plateau"};

/// Returns half a cosine: `from` at part = 0, `to` at part = 1.
double anneal(double from, double to, double part) {
  return to + (from - to) / 2 * (1 + std::cos(std::numbers::pi * part));
}

double fraction(std::int64_t part, std::int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(whole);
}

/// Returns the factor by the place of t in the period that it falls into.
double restarts(const Schedule& s, std::int64_t t) {
  std::int64_t period = s.every;
  if (s.stretch == 1) return anneal(1, s.min, fraction(t % period, period));
  while (t >= period) t -= period, period *= s.stretch;
  return anneal(1, s.min, fraction(t, period));
}

double one_cycle(const Schedule& s, std::int64_t t) {
  const double low = 1 / s.div_factor, last = low / s.final_div_factor;
  const double top = s.pct_start * static_cast<double>(s.steps) - 1, end = static_cast<double>(s.steps - 1);
  const auto at = static_cast<double>(std::min(t, s.steps - 1));
  if (at <= top) return anneal(low, 1, at / top);
  return anneal(1, last, (at - top) / (end - top));
}

Status wrong(std::string_view setting, double value, std::string_view must) {
  return invalid("schedule." + std::string(setting) + " is " + digits_of(value) + "; it must be " + std::string(must));
}

Status whole(std::string_view setting, std::int64_t value, std::int64_t least, std::int64_t most = kUpdatesMax) {
  if (value >= least && value <= most) return {};
  return wrong(setting, static_cast<double>(value), "from " + std::to_string(least) + " to " + std::to_string(most));
}

Status within(std::string_view setting, double value, double low, double high) {
  if (value >= low && value <= high) return {};
  if (std::isinf(high)) return wrong(setting, value, low == 0 ? "a number not below 0" : "at least 1");
  return wrong(setting, value, "between 0 and 1");
}

}  // namespace

std::string_view name(Schedule::Kind kind) { return kNames[static_cast<std::size_t>(kind)]; }

Result<Schedule::Kind> schedule_kind(std::string_view name) {
  const auto it = std::ranges::find(kNames, name);
  if (it == kNames.end()) return invalid("there is no schedule " + std::string(name));
  return static_cast<Schedule::Kind>(it - kNames.begin());
}

double Schedule::at(std::int64_t update) const {
  if (update < warmup_steps) return fraction(update + 1, warmup_steps + 1);
  const std::int64_t t = update - warmup_steps;
  switch (kind) {
    case Kind::constant:
    case Kind::plateau: return 1;
    case Kind::step: return std::pow(gamma, static_cast<double>(t / every));
    case Kind::multistep:
      return std::pow(gamma, static_cast<double>(std::ranges::upper_bound(milestones, t) - milestones.begin()));
    case Kind::exponential: return std::pow(gamma, static_cast<double>(t));
    case Kind::cosine: return t >= steps ? min : anneal(1, min, fraction(t, steps));
    case Kind::restarts: return restarts(*this, t);
    case Kind::polynomial: return t >= steps ? 0 : std::pow(1 - fraction(t, steps), power);
    case Kind::inverse_sqrt: {
      const std::int64_t w = std::max<std::int64_t>(1, warmup_steps);
      return std::sqrt(fraction(w, w + t));
    }
    case Kind::one_cycle: return one_cycle(*this, t);
  }
  return 1;
}

Status Schedule::check() const {
  COHAUL_TRY(whole("warmup_steps", warmup_steps, 0));
  constexpr double kAny = std::numeric_limits<double>::infinity();
  switch (kind) {
    case Kind::constant:
    case Kind::inverse_sqrt: return {};
    case Kind::step: COHAUL_TRY(whole("every", every, 1)); return within("gamma", gamma, 0, kAny);
    case Kind::multistep:
      if (milestones.empty() || milestones.front() < 1 || !std::ranges::is_sorted(milestones))
        return invalid("schedule.milestones must be numbers of updates from 1 on, in ascending order");
      return within("gamma", gamma, 0, kAny);
    case Kind::exponential: return within("gamma", gamma, 0, kAny);
    case Kind::cosine: COHAUL_TRY(whole("steps", steps, 1)); return within("min", min, 0, 1);
    case Kind::restarts:
      COHAUL_TRY(whole("every", every, 1));
      COHAUL_TRY(whole("stretch", stretch, 1, kStretchMax));
      return within("min", min, 0, 1);
    case Kind::polynomial: COHAUL_TRY(whole("steps", steps, 1)); return within("power", power, 0, kAny);
    case Kind::one_cycle:
      COHAUL_TRY(whole("steps", steps, 1));
      if (!(pct_start > 0 && pct_start < 1)) return wrong("pct_start", pct_start, "above 0 and below 1");
      if (pct_start * static_cast<double>(steps) <= 1)
        return wrong("steps", static_cast<double>(steps), "long enough to rise: steps · pct_start above 1");
      COHAUL_TRY(within("div_factor", div_factor, 1, kAny));
      return within("final_div_factor", final_div_factor, 1, kAny);
    case Kind::plateau:
      if (!(factor >= 0 && factor < 1)) return wrong("factor", factor, "at least 0 and below 1");
      if (!(threshold >= 0 && threshold < 1)) return wrong("threshold", threshold, "at least 0 and below 1");
      COHAUL_TRY(whole("patience", patience, 0));
      COHAUL_TRY(whole("cooldown", cooldown, 0));
      return within("min", min, 0, 1);
  }
  return {};
}

void Schedule::encode(Writer& out) const {
  out.put(kind).put(warmup_steps).put(steps).put(every).put(stretch);
  out.put(gamma).put(min).put(power).put(pct_start).put(div_factor).put(final_div_factor);
  out.put(factor).put(threshold).put(patience).put(cooldown);
  out.put(static_cast<std::uint32_t>(milestones.size()));
  for (std::int64_t at : milestones) out.put(at);
}

Result<Schedule> Schedule::decode(Reader& in) {
  Schedule s;
  const auto kind = in.get<std::uint8_t>();
  for (std::int64_t* v : {&s.warmup_steps, &s.steps, &s.every, &s.stretch}) *v = in.get<std::int64_t>();
  for (double* v : {&s.gamma, &s.min, &s.power, &s.pct_start, &s.div_factor, &s.final_div_factor})
    *v = in.get<double>();
  s.factor = in.get<double>(), s.threshold = in.get<double>();
  s.patience = in.get<std::int64_t>(), s.cooldown = in.get<std::int64_t>();
  const auto count = in.get<std::uint32_t>();
  if (!in.ok() || kind >= kNames.size() || count > in.left() / sizeof(std::int64_t))
    return corrupt("an unreadable schedule");
  s.kind = static_cast<Kind>(kind);
  for (std::uint32_t i = 0; i < count; ++i) s.milestones.push_back(in.get<std::int64_t>());
  if (Status status = s.check(); !status.ok()) return corrupt(status.message());
  return s;
}

}  // namespace cohaul::update
