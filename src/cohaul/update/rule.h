#pragma once
// Update rules over spans: gradients go in, new parameters come out, and the owner keeps the state. A rule works
// element by element, and multiplication and addition are not contracted, so an element's result depends neither on
// its place in a span nor on the instruction set. Layer-wise rules need norms over a whole parameter besides.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "cohaul/base/bytes.h"
#include "cohaul/base/dtype.h"
#include "cohaul/base/limits.h"
#include "cohaul/base/status.h"

namespace cohaul::update {

/// The settings of a rule, which do not change from step to step. Names and meanings are PyTorch's (torch.optim
/// 2.15); those of Lion, LARS and LAMB are their authors'. Defaults that differ from rule to rule are in the rules
/// that the user names (train/optimizer.h).
struct RuleSettings {
  /// store: the mean gradient takes the place of the parameters, without an update.
  enum class Kind : std::uint8_t { sgd, adam, adamw, adagrad, rmsprop, lion, lars, lamb, store } kind = Kind::sgd;
  double lr = 0;                      // all; the schedule multiplies it
  double momentum = 0;                // sgd, rmsprop, lars
  double dampening = 0;               // sgd
  double weight_decay = 0;            // all; decoupled from the gradient in adamw, lion and lamb
  bool nesterov = false;              // sgd
  double beta1 = 0.9, beta2 = 0.999;  // adam, adamw, lion, lamb
  double eps = 1e-8;                  // adam, adamw, adagrad, rmsprop, lamb
  bool amsgrad = false;               // adam, adamw: divides by the largest mean square so far
  double lr_decay = 0;                // adagrad
  double initial_accumulator = 0;     // adagrad
  double alpha = 0.99;                // rmsprop
  bool centered = false;              // rmsprop
  double trust_coefficient = 1e-3;    // lars
  bool trust_ratio = true;            // lars, lamb: false: the rate is the same whatever the norms are
  bool operator==(const RuleSettings&) const = default;

  void encode(Writer& out) const;
  static Result<RuleSettings> decode(Reader& in);  // corrupt
  /// Checks the settings. invalid, naming the setting: negative momentum, Nesterov without momentum, …
  Status check() const;
  /// Returns whether an update needs norms over the whole parameter, so that one owner must have all of it.
  bool needs_whole_parameters() const { return trust_ratio && (kind == Kind::lars || kind == Kind::lamb); }
};

std::string_view name(RuleSettings::Kind kind);
/// Checks a learning rate. invalid: below 0, or not a finite number.
Status check_lr(double lr);

class LayerwiseRule;

/// One rule. Stateless and thread-safe: all state is in the spans.
class Rule {
 public:
  virtual ~Rule() = default;
  /// Returns how many state values each element has (0 plain SGD, 1 momentum, 2 Adam), at most kStatesMax.
  virtual int states() const = 0;
  /// Updates n elements: gradient[i], parameter_in[i], state[k][i] → parameter_out[i], state[k][i] for i < n.
  /// parameter_out may be parameter_in. lr: the rate of this update. count: how many updates these elements have had,
  /// this one included. Any alignment, any n.
  virtual void apply(const float* gradient, const float* parameter_in, float* parameter_out, float* const* state,
                     std::size_t n, double lr, std::int64_t count) const = 0;
  virtual void apply(const double* gradient, const double* parameter_in, double* parameter_out, double* const* state,
                     std::size_t n, double lr, std::int64_t count) const = 0;
  /// Returns this rule where it is layer-wise; else null.
  virtual const LayerwiseRule* layerwise() const { return nullptr; }
};

/// Two norms over a whole parameter: of its values, and of the direction that direct() gives.
struct Norms {
  double parameter = 0, direction = 0;
};

/// A rule whose rate depends on norms over the whole parameter. An update makes two passes over it: direct() turns
/// gradients into directions, then apply() takes the directions in place of gradients, with the rate lr · trust().
class LayerwiseRule : public Rule {
 public:
  /// Makes directions of n elements: gradient[i], parameter[i], state[k][i] → direction[i], state[k][i] for i < n.
  /// Any alignment, any n. count: as apply()'s.
  virtual void direct(const float* gradient, const float* parameter, float* direction, float* const* state,
                      std::size_t n, std::int64_t count) const = 0;
  virtual void direct(const double* gradient, const double* parameter, double* direction, double* const* state,
                      std::size_t n, std::int64_t count) const = 0;
  /// Returns what the rate is multiplied with. It is 1 where a norm is 0, and where the settings have no trust ratio.
  virtual double trust(const Norms& norms) const = 0;
  const LayerwiseRule* layerwise() const final { return this; }
};

/// Makes the rule. Never null for settings whose check() is ok.
std::unique_ptr<const Rule> make_rule(const RuleSettings& settings);

}  // namespace cohaul::update
