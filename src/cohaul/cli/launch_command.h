#pragma once
// `cohaul launch [--workers N] [--servers K] [--hosts a,b] -- ./program [args]`.

#include <optional>
#include <string>
#include <vector>

#include "cohaul/cli/hosts_option.h"

namespace cohaul::cli {

struct LaunchArguments {
  std::optional<int> workers{};
  int servers = 0;
  bool pin = false;
  std::string logs{};
  double peer_timeout_s = 10, step_timeout_s = 600, join_timeout_s = 60;
  HostsOption on{};
  std::vector<std::string> command{};
};

/// Blocks until all processes have ended. Returns the exit code. Errors are written to stderr.
int run_launch(const LaunchArguments& arguments);

}  // namespace cohaul::cli
