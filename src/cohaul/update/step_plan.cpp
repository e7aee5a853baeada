#include "cohaul/update/step_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace cohaul::update {
namespace {

// The same as in torch::nn::utils::clip_grad_norm_.
constexpr double kNormEpsilon = 1e-6;

}  // namespace

void GradientFacts::merge(const GradientFacts& other) {
  squares.merge(other.squares);
  overflow = overflow || other.overflow;
  non_finite += other.non_finite;
  if (other.parameter < 0 || (parameter >= 0 && parameter < other.parameter)) return;
  // Of two parts of one parameter, the lowest worker that is known counts.
  const bool same = parameter == other.parameter;
  if (!same || worker < 0 || (other.worker >= 0 && other.worker < worker)) worker = other.worker;
  parameter = other.parameter;
}

void GradientFacts::encode(Writer& out) const {
  squares.encode(out);
  out.put(static_cast<std::uint8_t>(overflow)).put(non_finite).put(parameter).put(worker);
}

Result<GradientFacts> GradientFacts::decode(Reader& in) {
  GradientFacts f;
  COHAUL_ASSIGN(f.squares, ExactSum::decode(in));
  f.overflow = in.get<std::uint8_t>() != 0;
  f.non_finite = in.get<std::int64_t>();
  f.parameter = in.get<std::int32_t>();
  f.worker = in.get<std::int32_t>();
  if (!in.ok() || f.non_finite < 0 || f.parameter < -1 || f.worker < -1)
    return corrupt("unreadable facts of gradients");
  return f;
}

void StepPlan::encode(Writer& out) const {
  out.put(action).put(factor).put(norm.value_or(std::numeric_limits<double>::quiet_NaN()));
}

Result<StepPlan> StepPlan::decode(Reader& in) {
  StepPlan p;
  auto action = in.get<std::uint8_t>();
  p.factor = in.get<double>();
  auto norm = in.get<double>();
  if (!in.ok() || action > static_cast<std::uint8_t>(Action::stop)) return corrupt("an unreadable plan of a step");
  p.action = static_cast<Action>(action);
  if (!std::isnan(norm)) p.norm = norm;
  return p;
}

StepPlan decide(const GradientPolicy& policy, const GradientFacts& facts, double samples) {
  StepPlan plan;
  const double scale = samples > 0 ? 1 / samples : 1;
  plan.factor = scale;
  if (!policy.needs_facts()) return plan;
  if (facts.non_finite > 0 && policy.non_finite == NonFinite::stop) plan.action = StepPlan::Action::stop;
  if (facts.non_finite > 0 && policy.non_finite == NonFinite::skip) plan.action = StepPlan::Action::skip;
  double norm = std::sqrt(facts.squares.value()) * scale;
  if (facts.overflow || facts.non_finite > 0) norm = std::numeric_limits<double>::infinity();
  plan.norm = norm;
  if (policy.clip_norm > 0) plan.factor = scale * std::min(1.0, policy.clip_norm / (norm + kNormEpsilon));
  return plan;
}

Status non_finite_error(const GradientFacts& facts, const Layout& layout, std::int64_t step) {
  const auto p = static_cast<std::size_t>(facts.parameter);
  const std::string which = facts.parameter >= 0 && p < layout.parameters().size() ? layout.parameters()[p].name : "?";
  const std::string where =
      facts.worker >= 0 ? "at worker " + std::to_string(facts.worker) : "in the sum over all workers (each is finite)";
  return invalid("step " + std::to_string(step + 1) + ": the gradient of " + which + " is not finite " + where + "; " +
                 std::to_string(facts.non_finite) +
                 " such elements in all: look for a learning rate that is too high, or set non_finite = \"skip\"");
}

}  // namespace cohaul::update
