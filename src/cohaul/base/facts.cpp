#include "cohaul/base/facts.h"

#include <optional>
#include <string>

namespace cohaul {
namespace {

struct Fact {
  std::string_view name, value;
};

/// Takes the next line off `lines`. Returns nothing at the end.
std::optional<Fact> take_fact(std::string_view& lines) {
  if (lines.empty()) return std::nullopt;
  const std::size_t end = lines.find('\n');
  const std::string_view line = lines.substr(0, end);
  lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
  const std::size_t equals = line.find('=');
  if (equals == std::string_view::npos) return Fact{line, {}};
  return Fact{line.substr(0, equals), line.substr(equals + 1)};
}

std::optional<std::string_view> value_of(std::string_view lines, std::string_view name) {
  while (auto fact = take_fact(lines)) {
    if (fact->name == name) return fact->value;
  }
  return std::nullopt;
}

std::string text(std::optional<std::string_view> value, std::string_view who) {
  const std::string_view shown = !value ? "not set" : value->empty() ? "empty" : *value;
  return std::string(shown) + " at " + std::string(who);
}

}  // namespace

bool begins_loop(std::string_view facts) {
  const auto first = take_fact(facts);
  return first && first->name == kLoopFact;
}

Status compare_facts(std::string_view a, std::string_view who_a, std::string_view b, std::string_view who_b) {
  if (a == b) return {};
  // Facts of `a` come first, in its order; then those that only `b` has.
  std::string_view all[] = {a, b};
  for (std::string_view& lines : all) {
    while (auto fact = take_fact(lines)) {
      const auto at_a = value_of(a, fact->name), at_b = value_of(b, fact->name);
      if (at_a == at_b) continue;
      return invalid(std::string(fact->name) + " is " + text(at_a, who_a) + " and " + text(at_b, who_b) +
                     ": it must be the same at all workers");
    }
  }
  return {};
}

}  // namespace cohaul
