#pragma once
// Which CPUs of this host a job's workers are bound to, so that two of them never share a core while another one is idle.

#include <optional>
#include <string>
#include <vector>

#include "cohaul/transport/descriptor.h"

namespace cohaul::job {

struct Cpu {
  int number = 0;
  int node = 0;  // of memory (NUMA)
  int core = 0;  // CPUs of one core (hyper-threads) have the same number, and no others
  auto operator<=>(const Cpu&) const = default;
};

/// The CPUs of this host that are online, by number. sys: where the kernel's folder /sys is. Empty: it does not tell.
std::vector<Cpu> host_cpus(const std::string& sys = "/sys");

/// Returns for each worker `threads` CPUs that no other one has: on one node where a node has so many left, and on cores of their own as far as there are
/// some. Empty: they do not fit.
std::vector<std::vector<int>> deal_cpus(const std::vector<Cpu>& free, int workers, int threads);

/// CPUs that one launcher has claimed for its workers. Launchers of this host (of this network namespace) never hold the same one. The kernel frees them
/// when the process ends.
class CpuClaims {
 public:
  /// Claims `threads` CPUs for each of `workers`, and leaves `others` free for other processes. Returns none where they do not fit into what is free.
  /// Does not wait for other jobs.
  static std::optional<CpuClaims> take(const std::vector<Cpu>& cpus, int workers, int threads, int others);
  /// By worker: its CPUs, ascending.
  const std::vector<std::vector<int>>& cpus() const { return cpus_; }

 private:
  std::vector<std::vector<int>> cpus_;
  std::vector<transport::Descriptor> held_;
};

/// Claims for `workers` of this process's job; threads: of each, 0: as many as fit. None: they do not fit; there is one worker alone, which needs none; or
/// somebody else decides: this process may not run on all CPUs of the host, its cgroup has a quota, or variables of OpenMP bind threads.
std::optional<CpuClaims> claim_cpus(int workers, int threads, int others);

}  // namespace cohaul::job
