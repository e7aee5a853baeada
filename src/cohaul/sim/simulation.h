#pragma once
// One whole job with a parameter server, in one thread, in virtual time: the real server, coordinator, session, rendezvous and membership
// on the simulated network, stub workers, seeded faults, and a witness.

#include <cstdint>
#include <optional>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/ps/messages.h"
#include "cohaul/sim/scenario.h"

namespace cohaul::sim {

struct Report {
  std::uint64_t trace = 0;             // of all frames: equal for equal runs
  std::int64_t faults = 0;             // that took effect
  std::optional<job::MemberKey> lost;  // whom membership gave up
  ps::Stats tables, coordinator;
  bool left_early = false;     // a worker did leave a loop
  std::int64_t skipped = 0;    // steps, asynchronous
  std::vector<double> result;  // worker 0's parameters
  bool committed = false;      // its checkpoint
  std::vector<Time> moments;   // Saving::moments
  Time end = 0;                // when nothing happened any more
};

/// Runs it to its end. Errors: corrupt, naming the trace, the scenario and the promise that was broken.
Result<Report> simulate(const Scenario& scenario);

}  // namespace cohaul::sim
