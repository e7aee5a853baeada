#pragma once
// What is done with a step's gradients before the update: clipping, and how to treat gradients that are not finite.
// The decision is a pure function of facts of all gradients, so that every process decides alike.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/update/exact_sum.h"
#include "cohaul/update/layout.h"

namespace cohaul::update {

/// What to do with a step that has an infinite or undefined gradient. apply: update all the same, as torch::optim does.
enum class NonFinite : std::uint8_t { apply, stop, skip };
std::string_view name(NonFinite what);

/// The policy of the whole job.
struct GradientPolicy {
  double clip_norm =
      0;  // largest norm over all gradients together, as torch::nn::utils::clip_grad_norm_; 0: not clipped
  double clip_value = 0;  // largest absolute value of an element, as clip_grad_value_; 0: not clipped
  NonFinite non_finite = NonFinite::apply;
  std::int64_t watch_every = 0;  // updates between two of which the norm of each parameter's gradient is told; 0: none
  bool operator==(const GradientPolicy&) const = default;

  /// Returns whether a step must know all gradients before the first parameter is updated.
  bool needs_facts() const { return clip_norm > 0 || non_finite != NonFinite::apply; }
  /// Returns whether this update's norms are told: those of the first, and of every watch_every-th. update: from 0,
  /// over the whole run.
  bool watches(std::int64_t update) const {
    return watch_every > 0 && (update == 0 || (update + 1) % watch_every == 0);
  }
  void encode(Writer& out) const;
  static Result<GradientPolicy> decode(Reader& in);  // corrupt
  Status check() const;                              // invalid, naming the setting
};

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
