#pragma once
// The settings of update rules.

#include <cstdint>
#include <string_view>

#include "cohaul/base/status.h"

namespace cohaul {
class Reader;
class Writer;
}  // namespace cohaul

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

}  // namespace cohaul::update
