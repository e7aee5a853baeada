#pragma once
// What the system says of this machine and of this process's limits.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cohaul::cli {

struct NumaNode {
  int id = 0;
  std::string cpus{};  // "0-15"
  std::uint64_t bytes = 0;
};

/// A limit of the process (ulimit) or of its cgroup; nothing: unlimited.
using Limit = std::optional<std::uint64_t>;

struct Limits {
  Limit open_files{}, address_space{}, file_size{}, locked_memory{}, processes{};
};

struct Memory {
  std::uint64_t total = 0, available = 0, swap = 0;
  Limit cgroup_limit{};
  std::uint64_t cgroup_used = 0;  // where there is a limit
};

struct Network {
  std::string host;
  std::vector<std::string> means;      // the addresses that the host's own name stands for; empty: none is known
  std::vector<std::string> addresses;  // by which other hosts reach it, the best first
  std::map<std::string, std::vector<std::string>> interfaces{};
};

struct Machine {
  std::string kernel{}, distribution{}, processor{};
  std::string affinity{};  // the CPUs that this process may use: "0-3,8"
  int cores = 0;           // how many of them it has, with the cgroup's quota
  int quota = 0;           // the cgroup's, in cores; 0: none
  std::vector<NumaNode> nodes{};
  Memory memory{};
  Limits limits{};
  std::uint64_t shm_bytes = 0, shm_free = 0;  // of /dev/shm; 0 bytes: there is none
};

/// Reads proc/, sys/, etc/ and dev/shm below `root`. What cannot be read keeps its default.
Machine read_machine(const std::string& root = "");

/// Asks the resolver, and looks at the interfaces. Blocks on the resolver.
Network read_network();

/// A system call that Cohaul needs and that is refused here, with the reason: "memfd_create: Operation not permitted".
std::vector<std::string> refused_calls();

}  // namespace cohaul::cli
