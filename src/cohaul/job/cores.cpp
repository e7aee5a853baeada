#include "cohaul/job/cores.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>

#include "cohaul/base/limits.h"
#include "cohaul/job/kernel_files.h"

namespace cohaul::job {

std::vector<int> cpus_of(const std::string& text) {
  std::vector<int> out;
  for (const char *at = text.data(), *const end = at + text.size(); at < end;) {
    int first = 0, last = 0;
    auto read = std::from_chars(at, end, first);
    last = first;
    if (read.ec == std::errc() && read.ptr < end && *read.ptr == '-') read = std::from_chars(read.ptr + 1, end, last);
    const bool fits = first >= 0 && last < CPU_SETSIZE && out.size() < CPU_SETSIZE;
    if (read.ec != std::errc() || !fits) return {};
    for (int cpu = first; cpu <= last; ++cpu) out.push_back(cpu);
    at = read.ptr + 1;
  }
  return out;
}

namespace {

constexpr double kRounding = 1e-6;  // of sums of fractions

int affinity_cores() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::thread::hardware_concurrency());
}

/// How many processes of each host may run on each of its CPUs.
class CoreUsers {
 public:
  CoreUsers(const std::vector<Member>& members, bool workers_only) {
    for (const Member& m : members) {
      if (m.role == transport::Role::launcher || (workers_only && m.role != transport::Role::worker)) continue;
      Host& host = hosts_[m.host_id];
      ++host.processes;
      for (const int cpu : cpus_of(m.cpus)) ++host.users[cpu];
    }
  }
  double cores_of(const Member& member) const {
    const auto it = hosts_.find(member.host_id);
    if (it == hosts_.end()) return 0;
    double cores = 0;
    for (const int cpu : cpus_of(member.cpus))
      if (const auto users = it->second.users.find(cpu); users != it->second.users.end()) cores += 1.0 / users->second;
    return member.quota > 0 ? std::min(cores, static_cast<double>(member.quota) / it->second.processes) : cores;
  }

 private:
  struct Host {
    int processes = 0;
    std::map<int, int> users;  // by CPU
  };
  std::map<std::string, Host> hosts_;
};

}  // namespace

std::string allowed_cpus() {
  cpu_set_t set;
  std::string out;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return out;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    int last = cpu;
    while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &set)) ++last;
    out += (out.empty() ? "" : ",") + std::to_string(cpu) + (last > cpu ? "-" + std::to_string(last) : "");
    cpu = last;
  }
  return out;
}

int quota_cores(const std::string& root) {
  int least = 0;
  const auto take = [&](const std::string& text) {
    const int n = cores_of_quota(text.c_str());
    if (n > 0) least = least == 0 ? n : std::min(least, n);
  };
  for (const std::string& group : control_groups("cpu", root)) {
    take(first_line(group + "/cpu.max"));
    take(first_line(group + "/cpu.cfs_quota_us") + " " + first_line(group + "/cpu.cfs_period_us"));
  }
  return least;
}

int cores_of_quota(const char* cpu_max) {
  char* rest = nullptr;
  double quota = std::strtod(cpu_max, &rest);
  if (rest == cpu_max || quota <= 0) return 0;  // "max", "-1", or no such file
  double period = std::strtod(rest, nullptr);
  if (period <= 0) return 0;
  return std::max(1, static_cast<int>((quota + period - 1) / period));
}

int cores() {
  int n = affinity_cores(), quota = quota_cores();
  if (quota > 0) n = std::min(n, quota);
  return std::max(1, n);
}

double cores_of(const Member& member, const std::vector<Member>& members, bool workers_only) {
  return CoreUsers(members, workers_only).cores_of(member);
}

int default_threads(const std::vector<Member>& members) {
  const CoreUsers users(members, true);
  int wanted = 0;
  double least = 1e9;
  for (const Member& m : members) {
    if (m.role != transport::Role::worker) continue;
    if (m.wants_threads > 0) wanted = wanted == 0 ? m.wants_threads : std::min(wanted, m.wants_threads);
    least = std::min(least, users.cores_of(m));
  }
  return wanted > 0 ? wanted : std::max(1, static_cast<int>(std::min<double>(least, kThreadsMax) + kRounding));
}

Duration default_spin(const Job& job) {
  for (const Member& m : job.members())
    if (m.role == job.role() && m.rank == job.rank())
      return cores_of(m, job.members(), false) >= 1 - kRounding ? kMillisecond : 0;
  return 0;
}

}  // namespace cohaul::job
