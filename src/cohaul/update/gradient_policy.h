#pragma once
// What is to be done with a step's gradients before the update: clipping, and how to treat gradients that are not finite.

#include <cstdint>
#include <string_view>

#include "cohaul/base/status.h"

namespace cohaul {
class Reader;
class Writer;
}  // namespace cohaul

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

}  // namespace cohaul::update
