#pragma once
// A job of many processes, from joining to the last goodbye, in virtual time: the real rendezvous and members' sides of it, with counts of what
// each process hears and says. Nothing goes wrong, and nothing is trained: each process asks of the rendezvous what a real one does.

#include <cstdint>

#include "cohaul/base/status.h"
#include "cohaul/sim/scenario.h"
#include "cohaul/sim/traffic.h"

namespace cohaul::sim {

struct Crowd {
  int workers = 1, servers = 0;      // without servers the workers look for each other
  int on_a_host = 8;                 // processes
  Duration starts_within = kSecond;  // each process at a moment of its own
  Duration pauses_within =
      kSecond;  // each worker as long as it likes, before the meeting at the end of training and after it
};

struct JoinReport {
  Traffic rendezvous;
  Traffic::Count worker, server;  // the most of any
  Time joined = 0, end = 0;       // the last has
};

/// Errors: that of the first process that fails.
Result<JoinReport> simulate_joining(const Crowd& crowd);

}  // namespace cohaul::sim
