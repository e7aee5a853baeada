#pragma once
// Values of a job's keys, and where each came from.

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace cohaul::config {

/// interval: a number of updates (an integer), or a time (a string: "10min").
enum class Type : std::uint8_t { integer, real, boolean, string, path, integers, strings, interval };

/// Returns the type's name for people: "an integer", "true or false".
std::string_view name(Type type);

/// path values are strings, absolute; lists are strings too: "30,60", "*.bias,head.*".
using Value = std::variant<std::int64_t, double, bool, std::string>;

/// Returns the whole text as a number; nothing where it is none.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  T v{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return v;
}
/// Returns "30,60" as numbers; nothing where it is no list of integers.
std::optional<std::vector<std::int64_t>> integers(std::string_view text);

/// Returns "*.bias,head.*" as its parts; nothing where one is empty.
std::optional<std::vector<std::string>> strings(std::string_view text);

/// Returns "90s", "10min", "1.5h" in seconds, above 0; nothing where it is no such time.
std::optional<double> seconds_of(std::string_view text);

/// Returns the value as a job file would write it: 4, 0.01, true, "sgd".
std::string to_text(const Value& value);

/// Returns a bound as text, whole numbers without a point: 3, 0.5.
std::string bound_text(double v);

/// Where a value was set. file: a job file's path as the user gave it (line ≥ 1), or an option ("--set", "--workers";
/// line 0); empty: a default.
struct Location {
  std::string file;
  int line = 0;
  bool operator==(const Location&) const = default;
  /// "jobs/softmax.toml:7", "--set", "default".
  std::string text() const;
};

}  // namespace cohaul::config
