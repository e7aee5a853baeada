#include "cohaul/cli/diagnosis.h"

#include <algorithm>

#include "cohaul/job/host_port.h"

namespace cohaul::cli {
namespace {

constexpr std::uint64_t kMiB = 1 << 20, kGiB = 1 << 30;
// Measured with LibTorch 2.15 and the smallest job: what all processes share, and what a worker has for itself.
constexpr std::uint64_t kSharedByWorkers = 256 * kMiB, kOfAWorker = 96 * kMiB;
constexpr std::uint64_t kAddressSpace = 2 * kGiB;  // a worker maps 1.1 GB
constexpr std::uint64_t kFile = 64 * kMiB;
constexpr std::uint64_t kShm = 16 * kMiB;

std::string mib(std::uint64_t bytes) { return std::to_string(bytes / kMiB) + " MiB"; }
bool below(const Limit& limit, std::uint64_t needed) { return limit && *limit < needed; }

class Findings {
 public:
  void stops(std::string problem, std::string fix) { found_.push_back({true, std::move(problem), std::move(fix)}); }
  void hint(std::string problem, std::string fix) { found_.push_back({false, std::move(problem), std::move(fix)}); }
  std::vector<Finding> worst_first() {
    std::ranges::stable_sort(found_, std::ranges::greater{}, &Finding::stops_jobs);
    return std::move(found_);
  }

 private:
  std::vector<Finding> found_;
};

void look_at_limits(const Limits& limits, const std::string& of_workers, std::uint64_t descriptors, Findings& out) {
  if (below(limits.open_files, descriptors))
    out.stops("ulimit -n allows " + std::to_string(*limits.open_files) + " open files, and a job of " + of_workers +
                  " needs " + std::to_string(descriptors),
              "ulimit -n " + std::to_string(descriptors) + ", or nofile in /etc/security/limits.conf");
  if (below(limits.address_space, kAddressSpace))
    out.stops(
        "ulimit -v limits the address space to " + mib(*limits.address_space) + ", and a worker maps more than 1 GiB",
        "ulimit -v unlimited");
  if (below(limits.file_size, kFile))
    out.stops("ulimit -f limits files, and with them shared memory, to " + mib(*limits.file_size),
              "ulimit -f unlimited");
}

void look_at_memory(const Machine& machine, int workers, const std::string& of_workers, Findings& out) {
  const Memory& memory = machine.memory;
  const std::uint64_t needed = kSharedByWorkers + static_cast<std::uint64_t>(workers) * kOfAWorker;
  const std::uint64_t of_cgroup =
      memory.cgroup_limit.value_or(0) - std::min(memory.cgroup_limit.value_or(0), memory.cgroup_used);
  if (memory.cgroup_limit && of_cgroup < needed)
    out.stops("the cgroup leaves " + mib(of_cgroup) + " of memory, and the smallest job of " + of_workers + " needs " +
                  mib(needed),
              "raise the container's memory limit, or start fewer workers");
  else if (memory.total > 0 && memory.available < needed)
    out.stops(mib(memory.available) + " of memory are available, and the smallest job of " + of_workers + " needs " +
                  mib(needed),
              "end other programs, or start fewer workers");
  if (machine.shm_bytes > 0 && machine.shm_free < kShm)
    out.hint("/dev/shm has " + mib(machine.shm_free) + " free; Cohaul does not use it, but Open MPI, MPICH and Ray do",
             "remove what is left in it, or start the container with --shm-size=1g");
}

void look_at_network(const Network& network, Findings& out) {
  if (network.addresses.empty())
    return out.hint("this host has no address that others could reach: jobs on several hosts cannot use it",
                    "give the container or machine a network; jobs on this host alone need none");
  const std::string fix = "where a job leaves this host, name it by " + network.addresses.front() +
                          " (--hosts, MASTER_ADDR, job.address), or put that address and the name into /etc/hosts";
  if (network.means.empty()) out.hint("the host's name " + network.host + " is not known to the resolver", fix);
  else if (job::all_loopback(network.means))
    out.hint("the host's name " + network.host + " stands for " + job::comma_list(network.means) +
                 " alone, which other hosts cannot reach",
             fix);
}

}  // namespace

std::uint64_t descriptors_needed(int workers) { return 32 + 4 * static_cast<std::uint64_t>(workers); }

std::vector<Finding> diagnose(const Machine& machine, const Network& network, const WorkerAnswer& worker,
                              const std::vector<std::string>& refused_calls, int wanted_threads, int workers) {
  const std::string of_workers = std::to_string(workers) + (workers == 1 ? " worker" : " workers");
  Findings out;
  if (!worker.ok)
    out.stops("the worker does not start: " + worker.text,
              "name a LibTorch by LibTorch_ROOT=FOLDER in the environment: the folder that holds lib/libtorch_cpu.so");
  for (const std::string& call : refused_calls)
    out.stops("the system refuses " + call + "; Cohaul's shared memory needs it",
              "let the container's seccomp profile allow the call");
  look_at_limits(machine.limits, of_workers, descriptors_needed(workers), out);
  look_at_memory(machine, workers, of_workers, out);
  look_at_network(network, out);
  if (machine.cores > 0 && wanted_threads > machine.cores)
    out.hint("OMP_NUM_THREADS is " + std::to_string(wanted_threads) + ", and this process may use " +
                 std::to_string(machine.cores) + " cores",
             "unset OMP_NUM_THREADS, or set it to cores / workers");
  return out.worst_first();
}

}  // namespace cohaul::cli
