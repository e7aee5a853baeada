#pragma once
// Numbers as people read them. Pure.

#include <cstdint>
#include <string>

namespace cohaul::observe {

/// 31200 → "31,200".
std::string with_commas(std::int64_t v);
/// Returns the number with at most `digits` significant digits, no trailing zeros: 0.88, 12.3, 1.2e-07. "-" if not
/// finite.
std::string significant(double v, int digits = 4);
/// Returns the number with `decimals` places after the point: 0.8800. "-" if not finite.
std::string fixed(double v, int decimals);
/// Returns a rate to three digits: "31,200", "412", "3.14". "-" if not finite.
std::string rate(double per_second);
/// 0.123 → "12 %".
std::string percent(double fraction);
/// Seconds → "0:02", "12:40", "1:02:03".
std::string minutes(double seconds);

}  // namespace cohaul::observe
