#include "cohaul/config/describe.h"

#include <fnmatch.h>

#include <cmath>

namespace cohaul::config {
namespace {

/// Returns whether a maximum is worth telling. Very large ones are not.
bool is_tight(double max) { return max < 1e6 && max != kBelowOne; }

}  // namespace

std::string values_in_words(const KeySpec& spec) {
  if (!spec.choices.empty()) return listed(spec.choices);
  std::string out(name(spec.type));
  if (spec.type != Type::integer && spec.type != Type::real) return out;
  if (spec.max == kBelowOne) return out + (spec.above_min ? " above " : " from ") + bound_text(spec.min) + ", below 1";
  if (std::isfinite(spec.min)) out += (spec.above_min ? " above " : " from ") + bound_text(spec.min);
  if (is_tight(spec.max)) out += " to " + bound_text(spec.max);
  return out;
}

std::string default_in_words(const KeySpec& spec) {
  if (!spec.fallback) return {};
  const auto* text = std::get_if<std::string>(&*spec.fallback);
  return text ? *text : to_text(*spec.fallback);
}

std::string only_in_words(const KeySpec& spec) {
  if (spec.only.key.empty()) return {};
  return "only with " + spec.only.in_words();
}

bool matches(std::string_view key, std::string_view pattern) {
  if (pattern.find('*') == std::string_view::npos) return key.find(pattern) != std::string_view::npos;
  return ::fnmatch(std::string(pattern).c_str(), std::string(key).c_str(), 0) == 0;
}

}  // namespace cohaul::config
