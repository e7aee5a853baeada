#include "cohaul/observe/event.h"

#include <algorithm>

namespace cohaul::observe {
namespace {

std::optional<double> number_of(const Value& value) {
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return static_cast<double>(*whole);
  if (const auto* real = std::get_if<double>(&value)) return *real;
  return std::nullopt;
}

}  // namespace

void Event::add(std::string name, Value value) { values.emplace_back(std::move(name), std::move(value)); }

const Value* Event::find(std::string_view name) const {
  const auto found = std::ranges::find(values, name, [](const auto& v) { return std::string_view(v.first); });
  return found == values.end() ? nullptr : &found->second;
}

std::optional<double> Event::number(std::string_view name) const {
  const Value* const value = find(name);
  return value ? number_of(*value) : std::nullopt;
}

std::string Event::text(std::string_view name) const {
  const Value* const value = find(name);
  const auto* const text = value ? std::get_if<std::string>(value) : nullptr;
  return text ? *text : std::string();
}

Figures evaluation_figures(const Event& event) {
  Figures out;
  for (const auto& [name, value] : event.values)
    if (const auto v = number_of(value); v && name != "step" && name != "samples" && name != "seconds")
      out.emplace_back(name, *v);
  return out;
}

Figures gradient_norms(const Event& event) {
  const Value* const norms = event.kind == "gradients" ? event.find("norm") : nullptr;
  const auto* const figures = norms ? std::get_if<Figures>(norms) : nullptr;
  return figures ? *figures : Figures();
}

void Sinks::write(const Event& event) {
  for (const auto& sink : sinks_) sink->write(event);
}

Status Sinks::status() const {
  for (const auto& sink : sinks_) COHAUL_TRY(sink->status());
  return {};
}

}  // namespace cohaul::observe
