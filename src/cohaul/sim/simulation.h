#pragma once
// One whole run of the parameter server, in one thread, in virtual time: the real server, coordinator and session, stub workers,
// a seeded network, and a witness.

#include <cstdint>

#include "cohaul/base/status.h"
#include "cohaul/ps/messages.h"
#include "cohaul/sim/scenario.h"

namespace cohaul::sim {

struct Report {
  std::int64_t frames = 0;
  ps::Stats tables, coordinator;
};

/// Runs it to its end. Errors: corrupt, naming the scenario and the promise that was broken.
Result<Report> simulate(const Scenario& scenario);

}  // namespace cohaul::sim
