#pragma once
// Schedules of the learning rate: pure functions of the number of the update, but for plateau, which follows
// evaluations (plateau.h). Names, meanings and defaults are those of torch.optim.lr_scheduler 2.15. What is absolute
// there (eta_min) is a fraction of the rate here, so that groups keep their proportions.

#include <cstdint>
#include <string_view>
#include <vector>

#include "cohaul/base/status.h"

namespace cohaul {
class Reader;
class Writer;
}  // namespace cohaul

namespace cohaul::update {

struct Schedule {
  enum class Kind : std::uint8_t {
    constant,
    step,         // StepLR: × gamma every `every` updates
    multistep,    // MultiStepLR: × gamma at each of `milestones`
    exponential,  // ExponentialLR: × gamma at every update
    cosine,       // CosineAnnealingLR: half a cosine from 1 to `min` over `steps`, then `min`
    restarts,    // CosineAnnealingWarmRestarts: the same over `every` updates, again over every · stretch of them, …
    polynomial,  // PolynomialLR: (1 − t/steps)^power
    inverse_sqrt,  // √(w/(w + t)) with w = max(1, warmup_steps) (Vaswani et al., "Attention is all you need", 2017)
    one_cycle,     // OneCycleLR, the rate alone, annealed by cosines: the rate is its max_lr
    plateau,       // ReduceLROnPlateau: × factor, and never above it again, when evaluations get no better
  } kind = Kind::constant;

  /// Updates t < warmup_steps: × (t + 1)/(warmup_steps + 1), as LinearLR(1/(warmup_steps + 1)). What follows counts from their end, as under
  /// SequentialLR.
  std::int64_t warmup_steps = 0;
  std::int64_t steps = 0;                  // cosine, polynomial, one_cycle: length after the warm-up
  std::int64_t every = 0;                  // step, restarts
  std::vector<std::int64_t> milestones{};  // multistep, ascending
  double gamma = 0.1;                      // step, multistep, exponential
  double min = 0;                          // cosine, restarts, plateau: of the rate
  double power = 1;                        // polynomial
  std::int64_t stretch = 1;                // restarts (T_mult)
  double pct_start = 0.3;                  // one_cycle: part of the length in which the rate rises
  double div_factor = 25,
         final_div_factor = 1e4;  // one_cycle: starts at 1/div_factor, ends at 1/(div_factor · final_div_factor)
  double factor = 0.1;            // plateau
  std::int64_t patience = 10;     // plateau: evaluations in a row that may be no better; one more, and the rate falls
  double threshold = 1e-4;        // plateau: better is a loss below best · (1 − threshold)
  std::int64_t cooldown = 0;      // plateau: evaluations after a fall that do not count
  bool operator==(const Schedule&) const = default;

  /// Returns what the rate is multiplied with in update `update`, from 0. For plateau that is the warm-up alone, in
  /// which evaluations do not count. Not negative. Never blocks.
  double at(std::int64_t update) const;
  /// Checks the settings. invalid, naming the setting: a cosine without steps, milestones that do not ascend, …
  Status check() const;

  void encode(Writer& out) const;
  static Result<Schedule> decode(Reader& in);  // corrupt
};

std::string_view name(Schedule::Kind kind);
/// Returns the kind of that name. Errors: invalid.
Result<Schedule::Kind> schedule_kind(std::string_view name);

}  // namespace cohaul::update
