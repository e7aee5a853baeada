#include "cohaul/config/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "cohaul/base/digits.h"

namespace cohaul::config {

std::string_view name(Type type) {
  switch (type) {
    case Type::integer: return "an integer";
    case Type::real: return "a number";
    case Type::boolean: return "true or false";
    case Type::string: return "a text";
    case Type::path: return "a path";
    case Type::integers: return "a list of integers";
    case Type::strings: return "a list of texts";
    case Type::interval: return "an integer or a time such as 10min (s, min, h)";
  }
  return "a value";
}

std::optional<std::vector<std::int64_t>> integers(std::string_view text) {
  std::vector<std::int64_t> out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const auto v = parse_number<std::int64_t>(text.substr(begin, end - begin));
    if (!v) return std::nullopt;
    out.push_back(*v);
    begin = end + 1;
  }
  return out;
}

std::optional<std::vector<std::string>> strings(std::string_view text) {
  std::vector<std::string> out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (end == begin) return std::nullopt;
    out.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

std::optional<double> seconds_of(std::string_view text) {
  constexpr std::pair<std::string_view, double> kUnits[] = {{"min", 60}, {"s", 1}, {"h", 3600}};
  for (const auto& [unit, factor] : kUnits) {
    if (!text.ends_with(unit)) continue;
    const auto count = parse_number<double>(text.substr(0, text.size() - unit.size()));
    if (!count || !(*count > 0) || !std::isfinite(*count * factor)) return std::nullopt;
    return *count * factor;
  }
  return std::nullopt;
}

std::string to_text(const Value& value) {
  if (const auto* s = std::get_if<std::string>(&value)) return '"' + *s + '"';
  if (const auto* b = std::get_if<bool>(&value)) return *b ? "true" : "false";
  if (const auto* d = std::get_if<double>(&value)) return digits_of(*d);
  return std::to_string(std::get<std::int64_t>(value));
}

std::string bound_text(double v) {
  return std::floor(v) == v && std::abs(v) < 1e15 ? to_text(static_cast<std::int64_t>(v)) : to_text(v);
}

std::string Location::text() const {
  if (file.empty()) return "default";
  return line > 0 ? file + ":" + std::to_string(line) : file;
}

}  // namespace cohaul::config
