#pragma once
// The keys that a job may set. Each is described once, with all checks that need only its own value.

#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cohaul/base/limits.h"
#include "cohaul/base/status.h"
#include "cohaul/config/value.h"

namespace cohaul::config {

/// A key that is read only where another key has one of these values: strategy.servers only with strategy.name =
/// parameter_server.
struct OnlyWith {
  std::string key;  // empty: always
  std::vector<std::string> values;
  /// "optimizer.name = adam or adamw"
  std::string in_words() const;
};

/// The largest number below 1: the maximum of a key that may not be 1 itself.
constexpr double kBelowOne = 0.9999999999999999;

struct KeySpec {
  std::string key;  // "section.name"; N in it stands for any number from 0 to kNumberedMax
  Type type = Type::integer;
  std::string help;                 // one line
  std::optional<Value> fallback{};  // the default; none: unset, or set by other keys
  bool required = false;
  double min = -std::numeric_limits<double>::infinity(), max = std::numeric_limits<double>::infinity();
  bool above_min = false;              // min itself is not allowed
  std::vector<std::string> choices{};  // of a string; empty: any
  std::vector<std::string> aliases{};  // names that people try instead: suggested, never accepted
  OnlyWith only{};
};

/// Returns the lists, one after the other.
std::vector<KeySpec> concatenate(std::initializer_list<std::vector<KeySpec>> lists);

class Schema {
 public:
  explicit Schema(std::vector<KeySpec> keys) : keys_(std::move(keys)) {}

  std::span<const KeySpec> keys() const { return keys_; }
  const KeySpec* find(std::string_view key) const;
  /// Returns the description of a key as a job names it: for optimizer.group.3.lr that of optimizer.group.N.lr, under
  /// the name asked for. Nothing where there is no such key.
  std::optional<KeySpec> spec_of(std::string_view key) const;
  /// Returns the sections' names, in the order of the keys.
  std::vector<std::string> sections() const;
  /// Returns the names of a section's keys, without the section.
  std::vector<std::string> names_in(std::string_view section) const;

  /// Returns what to tell the user about a key that does not exist: the nearest one, and the section's keys.
  std::string unknown(std::string_view section, std::string_view name) const;
  std::string unknown_section(std::string_view section) const;

 private:
  std::string unknown_in_table(std::string_view section, std::string_view name) const;
  std::string meant(std::string_view section, std::string_view name) const;
  std::vector<KeySpec> keys_;
};

/// Checks the range, choices and finiteness of a value of the right type. Errors: invalid; the message says what
/// would be right.
Status check_value(const KeySpec& spec, const Value& value);

/// Returns "one, two, three".
std::string listed(std::span<const std::string> words, std::string_view between = ", ");

}  // namespace cohaul::config
