#pragma once
// Simulates a whole all-reduce in one thread, in virtual time: the real sessions of all ranks run on the simulated network with stub models and
// seeded faults. Every rank's parameters are compared with those of one process.

#include <cstdint>
#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/status.h"
#include "cohaul/sim/scenario.h"
#include "cohaul/update/gradient_policy.h"
#include "cohaul/update/rule.h"

namespace cohaul::sim {

struct RankFault {
  enum class Kind : std::uint8_t { kill, stop, slow, hold, cut };  // as in Fault; `peer` of hold and cut is a rank
  Kind kind = Kind::kill;
  int rank = 0, peer = 0;
  Time at = 0;
  Duration lasts = 0;
};

/// The parameters of a simulated all-reduce: a pure function of the seed.
struct RankScenario {
  std::uint64_t seed = 0;
  int ranks = 1;
  std::int32_t slices = 1;
  std::int64_t steps = 1;
  std::vector<int> hosts;  // by rank: the host
  bool shared = false;     // the ranks of a host share one copy of the parameters
  update::GradientPolicy policy;
  std::int64_t not_finite_step = -1;  // a gradient has an infinite element in this step
  std::int64_t write_after = -1;      // after so many steps all ranks meet, and rank 0 writes parameters
  Duration delay_max = 1, compute_max = 1;
  std::vector<RankFault> faults;
  // A rank that behaves differently from the others.
  int culprit = -1;
  std::int64_t dies_after_sends = -1;  // it dies after so many messages
  std::int64_t leaves_after = -1;      // it leaves after so many steps
  std::int64_t differs_in = -1;        // a loop begins in this step, and this rank has other facts

  static RankScenario draw(std::uint64_t seed);
  std::string describe() const;
  update::RuleSettings rule() const { return {.lr = 1, .momentum = 0.9}; }
  Scenario problem() const;  // the stub model's scenario
};

struct RankReport {
  std::uint64_t trace = 0;     // hash of all frames: equal for equal runs
  std::int64_t faults = 0;     // number of faults that took effect
  int failed = 0, killed = 0;  // number of ranks
};

/// Runs the simulation to its end. Errors: corrupt, naming the trace, the scenario and the promise that was broken.
Result<RankReport> simulate(const RankScenario& scenario);

}  // namespace cohaul::sim
