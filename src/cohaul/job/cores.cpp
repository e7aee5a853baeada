#include "cohaul/job/cores.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

namespace cohaul::job {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

int affinity_cores() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::thread::hardware_concurrency());
}

/// The quota of this process's cgroup, and of those above it that are visible here.
int quota_cores() {
  int least = 0;
  auto take = [&](const std::string& text) {
    int n = cores_of_quota(text.c_str());
    if (n > 0) least = least == 0 ? n : std::min(least, n);
  };
  std::string line = first_line("/proc/self/cgroup");  // v2: "0::/path"
  std::string path = line.rfind("0::", 0) == 0 ? line.substr(3) : "";
  while (path.size() > 1) {
    take(first_line("/sys/fs/cgroup" + path + "/cpu.max"));
    path.resize(path.rfind('/'));
  }
  take(first_line("/sys/fs/cgroup/cpu.max"));
  take(first_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") + " " + first_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
  return least;
}

}  // namespace

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

int default_threads(const Job& job) { return std::max(1, cores() / std::max(1, job.workers_on_host())); }

Duration default_spin(const Job& job) { return job.processes_on_host() > cores() ? 0 : kMillisecond; }

}  // namespace cohaul::job
