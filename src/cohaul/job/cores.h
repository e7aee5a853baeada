#pragma once
// How many cores this process may use, and what follows from it for threads and spinning.

#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/job/job.h"

namespace cohaul::job {

/// Cores that this process may run on: the affinity mask, less where a cgroup's quota (v2 or v1) is smaller. At least 1.
int cores();
/// Its affinity mask, as Member::cpus has it.
std::string allowed_cpus();
/// The CPUs of "0-3,8"; empty where it is no such list.
std::vector<int> cpus_of(const std::string& list);
/// What its cgroups allow, in cores; 0: all. root: the folder that holds proc/ and sys/.
int quota_cores(const std::string& root = "");
/// What the user's OMP_NUM_THREADS says; 0: nothing, or what torchrun sets by itself.
int wanted_threads();

/// How many cores a member has for itself where each core is shared evenly by those of its host that may run on it. workers_only: servers do not count.
double share_of_cores(const Member& member, const std::vector<Member>& members, bool workers_only);
/// job.threads where it is not set, the same for all workers of the job: the least that OMP_NUM_THREADS wants, else the least share of cores, at least 1.
int default_threads(const std::vector<Member>& members);
/// How long a poller of this job should spin before it sleeps: 0 where this process has no core for itself.
Duration default_spin(const Job& job);

/// The quota that a cgroup's cpu.max ("200000 100000") tells, in cores, rounded up; 0: none.
int cores_of_quota(const char* cpu_max);

}  // namespace cohaul::job
