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

/// Returns the names, those of a numbered table as one: group.N.*.
std::vector<std::string> shortened(const std::vector<std::string>& names) {
  std::vector<std::string> out;
  for (const std::string& name : names) {
    const std::size_t at = name.find(".N.");
    std::string shown = at == std::string::npos ? name : name.substr(0, at) + ".N.*";
    if (out.empty() || out.back() != shown) out.push_back(std::move(shown));
  }
  return out;
}

}  // namespace

std::string listed(std::span<const std::string> words, std::string_view between) {
  std::string out;
  for (const std::string& w : words) {
    if (!out.empty()) out += between;
    out += w;
  }
  return out;
}

std::string OnlyWith::in_words() const { return key + " = " + listed(values, " or "); }

std::vector<KeySpec> concatenate(std::initializer_list<std::vector<KeySpec>> lists) {
  std::vector<KeySpec> all;
  for (const std::vector<KeySpec>& keys : lists) all.insert(all.end(), keys.begin(), keys.end());
  return all;
}

const KeySpec* Schema::find(std::string_view key) const {
  auto it = std::ranges::find(keys_, key, &KeySpec::key);
  return it == keys_.end() ? nullptr : &*it;
}

std::optional<KeySpec> Schema::spec_of(std::string_view key) const {
  if (const KeySpec* spec = find(key)) return *spec;
  for (const KeySpec& spec : keys_) {
    const std::size_t at = spec.key.find(".N.");
    if (at == std::string::npos || !key.starts_with(std::string_view(spec.key).substr(0, at + 1))) continue;
    const std::string_view rest = key.substr(at + 1);
    const std::size_t dot = rest.find('.');
    if (dot == std::string_view::npos || rest.substr(dot) != std::string_view(spec.key).substr(at + 2)) continue;
    const auto number = parse_number<int>(rest.substr(0, dot));
    if (!number || *number < 0 || *number > kNumberedMax || std::to_string(*number) != rest.substr(0, dot)) continue;
    KeySpec found = spec;
    found.key = key;
    return found;
  }
  return std::nullopt;
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

/// Returns the full key that `section.name` probably stands for, or an empty text. Looks first for sure signs (an
/// alias, the right name in the wrong section), then for similar names in the section, then anywhere.
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

/// Does the same for "group.0.lrr", where the section has keys group.N.lr and so on; else returns an empty text.
std::string Schema::unknown_in_table(std::string_view section, std::string_view name) const {
  const std::size_t number = name.find('.'), rest = name.find('.', number + 1);
  if (number == std::string_view::npos || rest == std::string_view::npos) return {};
  const std::string table = std::string(section) + "." + std::string(name.substr(0, number));
  std::vector<std::string> names;
  std::string meant;
  for (const KeySpec& k : keys_) {
    if (!k.key.starts_with(table + ".N.")) continue;
    names.push_back(k.key.substr(table.size() + 3));
    if (std::ranges::find(k.aliases, name.substr(rest + 1)) != k.aliases.end()) meant = names.back();
  }
  if (names.empty()) return {};
  if (meant.empty()) meant = nearest(name.substr(rest + 1), names);
  const std::string in = table + std::string(name.substr(number, rest + 1 - number));
  return "unknown key" + (meant.empty() ? std::string() : "; did you mean " + in + meant + "?") + " [[" + table +
         "]] has: " + listed(names);
}

std::string Schema::unknown(std::string_view section, std::string_view name) const {
  if (section.empty()) {
    const std::string key = meant(section, name);
    return "keys are written section.name" +
           (key.empty() ? "; sections are: " + listed(sections()) : "; did you mean " + key + "?");
  }
  const std::vector<std::string> names = names_in(section);
  if (names.empty()) return unknown_section(section);
  if (std::string in_table = unknown_in_table(section, name); !in_table.empty()) return in_table;
  std::string out = "unknown key";
  if (std::string key = meant(section, name); !key.empty()) out += "; did you mean " + key + "?";
  return out + " [" + std::string(section) + "] has: " + listed(shortened(names));
}

std::string Schema::unknown_section(std::string_view section) const {
  const std::vector<std::string> all = sections();
  std::string out = "unknown section [" + std::string(section) + "]";
  if (std::string best = nearest(section, all); !best.empty()) out += "; did you mean [" + best + "]?";
  return out + " Sections are: " + listed(all);
}

Status check_value(const KeySpec& spec, const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    if (text->empty()) return invalid("must not be empty");
    if (spec.choices.empty() || std::ranges::find(spec.choices, *text) != spec.choices.end()) return {};
    std::string out = "must be " + listed(spec.choices, " or ");
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
