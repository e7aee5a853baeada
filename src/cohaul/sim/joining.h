#pragma once
// Simulates a job of many processes from joining to the last goodbye, in virtual time, with the real rendezvous and the members' real sessions, and
// counts the messages of each process. There are no faults and no training: each process sends to the rendezvous what a real one does.

#include <cstdint>

#include "cohaul/base/status.h"
#include "cohaul/sim/scenario.h"
#include "cohaul/sim/traffic.h"

namespace cohaul::sim {

struct Crowd {
  int workers = 1, servers = 0;      // without servers, workers connect to each other
  int on_a_host = 8;                 // processes per host
  Duration starts_within = kSecond;  // each process starts at a random moment within this time
  Duration pauses_within =
      kSecond;  // each worker pauses up to this long, before the meeting at the end of training and after it
};

struct JoinReport {
  Traffic rendezvous;
  Traffic::Count worker, server;  // the largest counts of any worker, of any server
  Time joined = 0, end = 0;       // when the last process has joined; has ended
};

/// Errors: that of the first process that fails.
Result<JoinReport> simulate_joining(const Crowd& crowd);

}  // namespace cohaul::sim
