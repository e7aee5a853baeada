#pragma once
// Measures what the network between the hosts of a job can do, over the connections that training would use.

#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/job/job.h"

namespace cohaul::job {

struct PairProbe {
  int from = 0, to = 0;       // workers
  double round_trip_us = 0;   // median of an empty frame's
  double mb_per_s_there = 0;  // payload, 10⁶ bytes: from → to
  double mb_per_s_back = 0;
  std::int64_t retransmitted = 0;  // TCP segments, of both hosts meanwhile
  std::string form;                // "TLS", "TCP", "memory"
};

/// Measures every pair of workers, one after the other, each for about 3 × `each`. All workers call it; worker 0 gets
/// the results, the others none. Errors: connect_workers' and the channels'.
Result<std::vector<PairProbe>> probe_pairs(Job& job, Duration each);

}  // namespace cohaul::job
