#pragma once
// The decision about a step's gradients. It is a pure function of the policy and of facts of all gradients, so that every process decides alike.

#include <cstdint>
#include <optional>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/update/exact_sum.h"
#include "cohaul/update/gradient_policy.h"
#include "cohaul/update/layout.h"

namespace cohaul::update {

/// Facts of a part of the gradients, summed over the batch. Facts of disjoint parts merge, in any order, into those
/// of the whole.
struct GradientFacts {
  ExactSum squares;
  bool overflow = false;        // a finite element's square is larger than any double
  std::int64_t non_finite = 0;  // elements
  std::int32_t parameter = -1;  // the first that has such an element, by its index in the layout; -1: none
  std::int32_t worker = -1;     // the first whose gradient of it has one; -1: only the sum over workers has

  void merge(const GradientFacts& other);
  void encode(Writer& out) const;
  static Result<GradientFacts> decode(Reader& in);  // corrupt
};

/// The decision about a step.
struct StepPlan {
  enum class Action : std::uint8_t { apply, skip, stop } action = Action::apply;
  double factor = 1;           // of every gradient
  std::optional<double> norm;  // of the mean gradient over the batch, before clipping, where facts are gathered

  void encode(Writer& out) const;
  static Result<StepPlan> decode(Reader& in);  // corrupt
  bool operator==(const StepPlan&) const = default;
};

/// Decides about a step. samples: over which the summed gradients are still to be averaged; 0: they are averaged
/// already.
StepPlan decide(const GradientPolicy& policy, const GradientFacts& facts, double samples = 0);

/// Returns the error that stops a step: "the gradient of fc.weight is not finite at worker 1 in step 12".
Status non_finite_error(const GradientFacts& facts, const Layout& layout, std::int64_t step);

}  // namespace cohaul::update
