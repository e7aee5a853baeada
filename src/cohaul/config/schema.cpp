#include "cohaul/config/schema.h"

#include <algorithm>
#include <cmath>

#include "cohaul/config/nearest.h"

namespace cohaul::config {
namespace {

std::string_view section_of(std::string_view key) { return key.substr(0, key.find('.')); }
std::string_view name_of(std::string_view key) { return key.substr(key.find('.') + 1); }

std::string range_text(const KeySpec& spec) {
  const std::string lower = (spec.above_min ? "greater than " : "at least ") + bound_text(spec.min);
  if (std::isinf(spec.max)) return lower;
  if (std::isinf(spec.min)) return "at most " + bound_text(spec.max);
  return lower + " and at most " + bound_text(spec.max);
}

}  // namespace

std::string join(std::span<const std::string> words, std::string_view between) {
  std::string out;
  for (const std::string& w : words) {
    if (!out.empty()) out += between;
    out += w;
  }
  return out;
}

std::string OnlyWith::in_words() const { return key + " = " + join(values, " or "); }

const KeySpec* Schema::find(std::string_view key) const {
  auto it = std::ranges::find(keys_, key, &KeySpec::key);
  return it == keys_.end() ? nullptr : &*it;
}

std::vector<std::string> Schema::sections() const {
  std::vector<std::string> out;
  for (const KeySpec& k : keys_) {
    std::string section(section_of(k.key));
    if (std::ranges::find(out, section) == out.end()) out.push_back(std::move(section));
  }
  return out;
}

std::vector<std::string> Schema::names_in(std::string_view section) const {
  std::vector<std::string> out;
  for (const KeySpec& k : keys_)
    if (section_of(k.key) == section) out.emplace_back(name_of(k.key));
  return out;
}

/// The full key that `section.name` was probably meant to be, or empty. Sure signs first: an alias, the right name in
/// the wrong section; then likeness, in the section, then anywhere.
std::string Schema::meant(std::string_view section, std::string_view name) const {
  for (bool here : {true, false})
    for (const KeySpec& k : keys_)
      if ((section_of(k.key) == section) == here && std::ranges::find(k.aliases, name) != k.aliases.end()) return k.key;
  for (const KeySpec& k : keys_)
    if (name_of(k.key) == name) return k.key;
  if (std::string best = nearest(name, names_in(section)); !best.empty()) return std::string(section) + "." + best;
  std::vector<std::string> all;
  for (const KeySpec& k : keys_) all.emplace_back(name_of(k.key));
  if (std::string best = nearest(name, all); !best.empty()) {
    for (const KeySpec& k : keys_)
      if (name_of(k.key) == best) return k.key;
  }
  return {};
}

std::string Schema::unknown(std::string_view section, std::string_view name) const {
  if (section.empty()) {
    const std::string key = meant(section, name);
    return "keys are written section.name" +
           (key.empty() ? "; sections are: " + join(sections()) : "; did you mean " + key + "?");
  }
  const std::vector<std::string> names = names_in(section);
  if (names.empty()) return unknown_section(section);
  std::string out = "unknown key";
  if (std::string key = meant(section, name); !key.empty()) out += "; did you mean " + key + "?";
  return out + " [" + std::string(section) + "] has: " + join(names);
}

std::string Schema::unknown_section(std::string_view section) const {
  const std::vector<std::string> all = sections();
  std::string out = "unknown section [" + std::string(section) + "]";
  if (std::string best = nearest(section, all); !best.empty()) out += "; did you mean [" + best + "]?";
  return out + " Sections are: " + join(all);
}

Status check_value(const KeySpec& spec, const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    if (text->empty()) return invalid("must not be empty");
    if (spec.choices.empty() || std::ranges::find(spec.choices, *text) != spec.choices.end()) return {};
    std::string out = "must be " + join(spec.choices, " or ");
    if (std::string best = nearest(*text, spec.choices); !best.empty()) out += "; did you mean " + best + "?";
    return invalid(out);
  }
  if (std::holds_alternative<bool>(value)) return {};
  const double v = std::holds_alternative<double>(value) ? std::get<double>(value)
                                                         : static_cast<double>(std::get<std::int64_t>(value));
  if (!std::isfinite(v)) return invalid("must be finite");
  if (v < spec.min || v > spec.max || (spec.above_min && v == spec.min)) return invalid("must be " + range_text(spec));
  return {};
}

}  // namespace cohaul::config
