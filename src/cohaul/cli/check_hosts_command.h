#pragma once
// `cohaul check-hosts a,b,c`: whether each host can be reached and has the same program, and what the network between every two of them can do.

#include <string>

#include "cohaul/cli/hosts_option.h"

namespace cohaul::cli {

struct CheckHostsArguments {
  HostsOption on{};
  double seconds = 0.5;  // each of the three measurements of a pair
  bool json = false;
};

struct ProbeArguments {
  std::string names{};  // of the hosts, with commas, in the order of workers
  double seconds = 0.5;
  bool json = false;
};

/// Blocks until all pairs have been measured. Returns the exit code; what is wrong has been said on stderr.
int run_check_hosts(const CheckHostsArguments& arguments);
/// The part of it that runs on each host, as a worker: worker 0 prints.
int run_probe(const ProbeArguments& arguments);

}  // namespace cohaul::cli
