#pragma once
// Update rules over spans: gradients in, new parameters out, state kept by the owner. Element by element, without
// contraction: an element's result does not depend on its place in a span, nor on the instruction set.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "cohaul/base/bytes.h"
#include "cohaul/base/dtype.h"
#include "cohaul/base/status.h"

namespace cohaul::update {

/// What does not change from step to step. Names, meanings and defaults are PyTorch's (torch.optim 2.15).
struct RuleSettings {
  /// store: parameters become the gradients, for a mean gradient without an update.
  enum class Kind : std::uint8_t { sgd, adam, adamw, store } kind = Kind::sgd;
  double momentum = 0, dampening = 0,
         weight_decay = 0;  // sgd; weight_decay also of adam (L2) and adamw (decoupled, 0.01)
  bool nesterov = false;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;  // adam, adamw
  bool operator==(const RuleSettings&) const = default;

  void encode(Writer& out) const;
  static Result<RuleSettings> decode(Reader& in);  // corrupt
  /// invalid, naming the setting: negative momentum, Nesterov without momentum, …
  Status check() const;
};

std::string_view name(RuleSettings::Kind kind);

/// What travels with each step.
struct StepSettings {
  double lr = 0;
};

/// One rule. Stateless and thread-safe: all state is in the spans.
class Rule {
 public:
  virtual ~Rule() = default;
  /// How many state values each element has (0 plain SGD, 1 momentum, 2 Adam).
  virtual int states() const = 0;
  /// gradient[i], parameter_in[i], state[k][i] → parameter_out[i], state[k][i] for i < n. parameter_out may be
  /// parameter_in. count: updates of these elements with this one, from 1. Any alignment, any n.
  virtual void apply(const float* gradient, const float* parameter_in, float* parameter_out, float* const* state,
                     std::size_t n, const StepSettings& settings, std::int64_t count) const = 0;
  virtual void apply(const double* gradient, const double* parameter_in, double* parameter_out, double* const* state,
                     std::size_t n, const StepSettings& settings, std::int64_t count) const = 0;
};

/// Never null for settings whose check() is ok.
std::unique_ptr<const Rule> make_rule(const RuleSettings& settings);

}  // namespace cohaul::update
