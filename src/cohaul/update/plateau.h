#pragma once
// The schedule plateau: rates fall when a loss falls no more. As torch.optim.lr_scheduler.ReduceLROnPlateau 2.15,
// with mode "min" and a relative threshold.

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "cohaul/base/status.h"
#include "cohaul/update/schedule.h"

namespace cohaul::update {

/// Follows the losses so far. A value.
class Plateau {
 public:
  /// schedule: of kind plateau, checked.
  explicit Plateau(const Schedule& schedule) : schedule_(schedule) {}
  /// Takes the loss of an evaluation. Returns whether the rates fall now.
  bool observe(double loss);
  /// Returns the rate that follows `rate`, for a group whose own is `own`: rate · factor, but not below own · min,
  /// and `rate` itself where it would fall by no more than 1e-8, as torch's eps has it.
  double reduced(double rate, double own) const;

  /// Returns what it knows, as text for a checkpoint.
  std::string text() const;
  /// Reads what text() has returned; "" for the start. Errors: invalid.
  Status read(std::string_view text);

 private:
  Schedule schedule_;
  double best_ = std::numeric_limits<double>::infinity();
  std::int64_t bad_ = 0;       // evaluations in a row that were not better
  std::int64_t cooldown_ = 0;  // evaluations to come that do not count
};

}  // namespace cohaul::update
