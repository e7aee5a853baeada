#include "outcome.h"

#include <cmath>
#include <cstdio>

namespace cohaul::programs {
namespace {

std::string text(double value) {
  char out[64];
  std::snprintf(out, sizeof out, "%.17g", value);
  return out;
}

std::vector<double> values(const Parameter& p) {
  std::vector<double> out;
  const std::size_t size = p.float64 ? sizeof(double) : sizeof(float);
  for (std::size_t at = 0; at + size <= p.bytes.size(); at += size) {
    double wide = 0;
    float narrow = 0;
    if (p.float64) std::memcpy(&wide, p.bytes.data() + at, size);
    else std::memcpy(&narrow, p.bytes.data() + at, size), wide = narrow;
    out.push_back(wide);
  }
  return out;
}

bool equal(double a, double b, std::optional<double> tolerance) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (!tolerance || std::isinf(a) || std::isinf(b)) return a == b;
  return std::abs(a - b) <= *tolerance * std::max(1.0, std::abs(a));
}

std::optional<std::string> differing(const Parameter& a, const Parameter& b, std::optional<double> tolerance) {
  if (a.name != b.name || a.float64 != b.float64 || a.bytes.size() != b.bytes.size())
    return "the parameters are " + b.name + ", where " + a.name + " is expected";
  if (a.bytes == b.bytes) return std::nullopt;
  const std::vector<double> expected = values(a), seen = values(b);
  std::size_t count = 0, worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (equal(expected[i], seen[i], tolerance)) continue;
    ++count;
    const double now = std::abs(expected[i] - seen[i]), before = std::abs(expected[worst] - seen[worst]);
    if (count == 1 || now > before) worst = i;
  }
  if (count == 0) return std::nullopt;
  return a.name + "[" + std::to_string(worst) + "] is " + text(seen[worst]) + ", not " + text(expected[worst]) + "; " +
         std::to_string(count) + " of its " + std::to_string(expected.size()) + " elements differ";
}

std::vector<const Observation*> seen_by(const Outcome& outcome, bool first) {
  std::vector<const Observation*> out;
  for (const Observation& o : outcome.observations)
    if (first || o.everywhere) out.push_back(&o);
  return out;
}

std::optional<std::string> differing_observations(const Outcome& expected, const Outcome& seen,
                                                  std::optional<double> tolerance, bool first) {
  const auto a = seen_by(expected, first), b = seen_by(seen, first);
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (a[i]->label != b[i]->label) return "it says '" + b[i]->label + "', where '" + a[i]->label + "' is expected";
    if (!equal(a[i]->value, b[i]->value, tolerance))
      return a[i]->label + " is " + text(b[i]->value) + ", not " + text(a[i]->value);
  }
  if (a.size() != b.size()) return "it says " + std::to_string(b.size()) + " things, not " + std::to_string(a.size());
  return std::nullopt;
}

}  // namespace

std::optional<std::string> difference(const Outcome& expected, const Outcome& seen, std::optional<double> tolerance,
                                      bool first) {
  if (!seen.status.ok()) return "it ends with: " + seen.status.message();
  if (auto found = differing_observations(expected, seen, tolerance, first)) return found;
  if (expected.parameters.size() != seen.parameters.size()) return "it has another number of parameters";
  for (std::size_t i = 0; i < expected.parameters.size(); ++i)
    if (auto found = differing(expected.parameters[i], seen.parameters[i], tolerance)) return found;
  return std::nullopt;
}

double largest(const Outcome& outcome) {
  double out = 0;
  for (const Parameter& p : outcome.parameters)
    for (double v : values(p)) out = std::isfinite(v) ? std::max(out, std::abs(v)) : HUGE_VAL;
  return out;
}

double error_of(const Outcome& expected, const Outcome& seen) {
  double out = 0;
  for (std::size_t i = 0; i < std::min(expected.parameters.size(), seen.parameters.size()); ++i) {
    const std::vector<double> a = values(expected.parameters[i]), b = values(seen.parameters[i]);
    for (std::size_t k = 0; k < std::min(a.size(), b.size()); ++k)
      out = std::max(out, std::abs(a[k] - b[k]) / std::max(1.0, std::abs(a[k])));
  }
  return out;
}

std::vector<std::byte> Outcome::encode() const {
  std::vector<std::byte> out;
  Writer w(out);
  w.put(status.code()).text(status.message());
  w.put(static_cast<std::uint32_t>(observations.size()));
  for (const Observation& o : observations) w.text(o.label).put(o.value).put(o.everywhere);
  w.put(static_cast<std::uint32_t>(parameters.size()));
  for (const Parameter& p : parameters) {
    w.text(p.name).put(p.float64).put(p.moved).put(static_cast<std::uint64_t>(p.bytes.size()));
    w.raw(p.bytes);
  }
  return out;
}

Result<Outcome> Outcome::decode(ConstBytes bytes) {
  Reader in(bytes);
  Outcome out;
  const auto code = in.get<Code>();
  std::string message = in.text();
  if (code != Code::ok) out.status = Status(code, std::move(message));
  for (auto n = in.get<std::uint32_t>(); n > 0 && in.ok(); --n) {
    std::string label = in.text();
    const auto value = in.get<double>();
    out.observations.push_back({std::move(label), value, in.get<bool>()});
  }
  for (auto n = in.get<std::uint32_t>(); n > 0 && in.ok(); --n) {
    Parameter p;
    p.name = in.text();
    p.float64 = in.get<bool>();
    p.moved = in.get<bool>();
    const ConstBytes raw = in.raw(in.get<std::uint64_t>());
    p.bytes.assign(raw.begin(), raw.end());
    out.parameters.push_back(std::move(p));
  }
  if (!in.done()) return corrupt("an unreadable outcome");
  return out;
}

}  // namespace cohaul::programs
