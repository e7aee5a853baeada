#include "cohaul/update/gradient_policy.h"

#include <cmath>
#include <string>

#include "cohaul/base/bytes.h"

namespace cohaul::update {
namespace {

Status not_negative(const char* setting, double value) {
  if (std::isfinite(value) && value >= 0) return {};
  return invalid(std::string(setting) + " is " + std::to_string(value) +
                 "; it must be a number above 0, or 0 for none");
}

}  // namespace

std::string_view name(NonFinite what) {
  constexpr std::string_view kNames[] = {"apply", "stop", "skip"};
  return kNames[static_cast<std::size_t>(what)];
}

void GradientPolicy::encode(Writer& out) const { out.put(clip_norm).put(clip_value).put(non_finite).put(watch_every); }

Result<GradientPolicy> GradientPolicy::decode(Reader& in) {
  GradientPolicy p;
  p.clip_norm = in.get<double>();
  p.clip_value = in.get<double>();
  auto what = in.get<std::uint8_t>();
  p.watch_every = in.get<std::int64_t>();
  if (!in.ok() || what > static_cast<std::uint8_t>(NonFinite::skip)) return corrupt("an unreadable gradient policy");
  p.non_finite = static_cast<NonFinite>(what);
  if (Status s = p.check(); !s.ok()) return corrupt("gradient policy: " + s.message());
  return p;
}

Status GradientPolicy::check() const {
  COHAUL_TRY(not_negative("clip_norm", clip_norm));
  COHAUL_TRY(not_negative("clip_value", clip_value));
  if (watch_every < 0)
    return invalid("watch_gradients is " + std::to_string(watch_every) +
                   "; it must be a number of updates, or 0 for none");
  if (clip_norm > 0 && clip_value > 0) return invalid("clip_norm and clip_value are both set: choose one of them");
  return {};
}

}  // namespace cohaul::update
