#include "cohaul/observe/format.h"

#include <algorithm>
#include <cmath>

#include "cohaul/base/digits.h"

namespace cohaul::observe {

std::string with_commas(std::int64_t v) {
  const std::string digits = std::to_string(v);
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const bool thousands = i > 0 && digits[i - 1] != '-' && (digits.size() - i) % 3 == 0;
    if (thousands) out += ',';
    out += digits[i];
  }
  return out;
}

std::string significant(double v, int digits) { return std::isfinite(v) ? significant_digits(v, digits) : "-"; }

std::string fixed(double v, int decimals) { return std::isfinite(v) ? fixed_digits(v, decimals) : "-"; }

std::string rate(double per_second) {
  if (!std::isfinite(per_second) || std::abs(per_second) > 1e15) return "-";
  if (per_second < 100) return significant(per_second, 3);
  double unit = 1;
  while (per_second / unit >= 1000) unit *= 10;
  return with_commas(static_cast<std::int64_t>(std::round(per_second / unit) * unit));
}

std::string percent(double fraction) { return std::isfinite(fraction) ? fixed_digits(100 * fraction, 0) + " %" : "-"; }

std::string minutes(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  const auto s = static_cast<std::int64_t>(std::clamp(std::ceil(seconds), 0.0, 1e12));
  const auto two_digits = [](std::int64_t v) { return (v < 10 ? ":0" : ":") + std::to_string(v); };
  if (s >= 3600) return std::to_string(s / 3600) + two_digits(s / 60 % 60) + two_digits(s % 60);
  return std::to_string(s / 60) + two_digits(s % 60);
}

}  // namespace cohaul::observe
