#pragma once
// Update rules over spans: gradients go in, new parameters come out, and the owner keeps the state. A rule works
// element by element, and multiplication and addition are not contracted, so an element's result depends neither on
// its place in a span nor on the instruction set. Layer-wise rules need norms over a whole parameter besides.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "cohaul/update/rule_settings.h"

namespace cohaul::update {

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
