#pragma once
// The settings that update a model: a rule for each group of its parameters, one schedule for the rates of all
// groups, and the moving average.

#include <cstdint>
#include <span>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/limits.h"
#include "cohaul/base/status.h"
#include "cohaul/update/rule.h"
#include "cohaul/update/schedule.h"

namespace cohaul::update {

struct OptimizerSettings {
  /// ParameterSpec::group is an index into it. At least one, and all of one kind.
  std::vector<RuleSettings> groups = std::vector<RuleSettings>(1);
  Schedule schedule{};
  /// Decay of an exponential moving average of the parameters: after each update, average = ema · average + (1 − ema) · parameter. It starts from
  /// the parameters before the first update. 0: none is kept.
  double ema = 0;

  OptimizerSettings() = default;
  /// One group.
  OptimizerSettings(const RuleSettings& rule) : groups(1, rule) {}
  bool operator==(const OptimizerSettings&) const = default;

  void encode(Writer& out) const;
  static Result<OptimizerSettings> decode(Reader& in);  // corrupt
  /// Errors: invalid, naming the setting.
  Status check() const;
};

/// The rates of the groups, update by update. A rate that the user sets by hand replaces a group's own; the schedule
/// still multiplies it.
class Rates {
 public:
  explicit Rates(const OptimizerSettings& settings);
  /// Returns the rate of a group in update `update`, from 0.
  double at(std::size_t group, std::int64_t update) const;
  /// Sets the rates by group: as many as there are groups, each a learning rate.
  void set(std::span<const double> rates);
  std::span<const double> own() const { return own_; }

 private:
  std::vector<double> own_;
  Schedule schedule_;
  mutable std::int64_t update_ = -1;  // of which factor_ is
  mutable double factor_ = 1;
};

}  // namespace cohaul::update
