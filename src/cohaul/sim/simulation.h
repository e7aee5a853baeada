#pragma once
// Simulates a whole job with a parameter server in one thread, in virtual time: the real server, coordinator, session, rendezvous and membership run
// on the simulated network, with stub workers, seeded faults and a witness.

#include <cstdint>
#include <optional>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/ps/messages.h"
#include "cohaul/sim/scenario.h"

namespace cohaul::sim {

struct Report {
  std::uint64_t trace = 0;             // hash of all frames: equal for equal runs
  std::int64_t faults = 0;             // number of faults that took effect
  std::optional<job::MemberKey> lost;  // the member that membership gave up
  ps::Stats tables, coordinator;
  bool left_early = false;     // a worker did leave a loop
  std::int64_t skipped = 0;    // number of skipped steps, asynchronous
  std::vector<double> result;  // worker 0's parameters
  bool committed = false;      // whether its checkpoint was committed
  std::vector<Time> moments;   // Saving::moments
  Time end = 0;                // the time of the last event
};

/// Runs the simulation to its end. Errors: corrupt, naming the trace, the scenario and the promise that was broken.
Result<Report> simulate(const Scenario& scenario);

}  // namespace cohaul::sim
