#pragma once
// How many cores this process may use, and what follows from it for threads and spinning.

#include "cohaul/base/clock.h"
#include "cohaul/job/job.h"

namespace cohaul::job {

/// Cores that this process may run on: the affinity mask, less where a cgroup's quota (v2 or v1) is smaller. At least 1.
int cores();
/// job.threads where it is not set: cores ÷ workers on this host, at least 1.
int default_threads(const Job& job);
/// How long a poller of this job should spin before it sleeps: 0 when the job's processes on this host exceed its cores.
Duration default_spin(const Job& job);

/// The quota that a cgroup's cpu.max ("200000 100000") tells, in cores, rounded up; 0: none.
int cores_of_quota(const char* cpu_max);

}  // namespace cohaul::job
