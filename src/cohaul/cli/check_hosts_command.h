#pragma once
// `cohaul check-hosts a,b,c`: checks that each host can be reached and has the same program, and measures the network between every two of them.

#include <string>

#include "cohaul/cli/hosts_option.h"

namespace cohaul::cli {

struct CheckHostsArguments {
  HostsOption on{};
  double seconds = 0.5;  // duration of each of the three measurements of a pair
  bool json = false;
};

struct ProbeArguments {
  std::string names{};  // names of the hosts, separated by commas, in the order of workers
  double seconds = 0.5;
  bool json = false;
};

/// Blocks until all pairs have been measured. Returns the exit code. Errors are written to stderr.
int run_check_hosts(const CheckHostsArguments& arguments);
/// The part of the check that runs on each host, as a worker of a job. Worker 0 prints the results.
int run_probe(const ProbeArguments& arguments);

}  // namespace cohaul::cli
