#pragma once
// How many cores this process may use, and what follows from it for threads and spinning.

#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/job/job.h"
#include "cohaul/job/member.h"

namespace cohaul::job {

/// Returns how many cores this process may run on: the affinity mask, less where a cgroup's quota (v2 or v1) is
/// smaller. At least 1.
int cores();
/// Returns its affinity mask, as Member::cpus has it.
std::string allowed_cpus();
/// Returns the CPUs of a text such as "0-3,8"; none for another text.
std::vector<int> cpus_of(const std::string& list);
/// Returns the least that its cgroups and those above them allow, in cores; 0: all. root: the folder that holds proc/ and sys/.
int quota_cores(const std::string& root = "");
/// Returns what the user's OMP_NUM_THREADS says; 0: nothing, or what torchrun sets by itself.
int wanted_threads();

/// Returns how many cores a member has, where each core is shared evenly by the members of its host that may run on
/// it. workers_only: servers do not count.
double cores_of(const Member& member, const std::vector<Member>& members, bool workers_only);
/// Returns job.threads where it is not set, the same for all workers of the job: the least that OMP_NUM_THREADS
/// wants, else the least share of cores, at least 1.
int default_threads(const std::vector<Member>& members);
/// Returns how long a poller of this job should spin before it sleeps: 0 where this process has no core for itself.
Duration default_spin(const Job& job);

/// Returns the quota that a cgroup's cpu.max ("200000 100000") tells, in cores, rounded up; 0: none.
int cores_of_quota(const char* cpu_max);

}  // namespace cohaul::job
