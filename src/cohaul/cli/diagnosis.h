#pragma once
// What is wrong on a machine, and how to mend it. Pure.

#include <string>
#include <vector>

#include "cohaul/cli/machine.h"

namespace cohaul::cli {

struct Finding {
  bool stops_jobs = false;  // else: only some of them
  std::string problem, fix;
};

/// What the worker said when it was asked for its version.
struct WorkerAnswer {
  bool ok = false;
  std::string text{};  // what it said, or why it could not be asked
};

/// Returns what would go wrong with jobs of `workers` workers on this machine, the worst first.
std::vector<Finding> diagnose(const Machine& machine, const Network& network, const WorkerAnswer& worker,
                              const std::vector<std::string>& refused_calls, int wanted_threads, int workers);

/// The descriptors that a process of a job of so many workers needs (ulimit -n).
std::uint64_t descriptors_needed(int workers);

}  // namespace cohaul::cli
