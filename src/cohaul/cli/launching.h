#pragma once
// The processes of a job, from this host, until all have ended.

#include <string>
#include <vector>

#include "cohaul/cli/failure.h"

namespace cohaul::cli {

struct Launching {
  std::vector<std::string> worker, server;  // command lines; server is not read with 0 servers
  int workers = 1, servers = 0;
  std::string logs{};  // folder; empty: a temporary one
  std::string address = "127.0.0.1", transport = "auto";
  double peer_timeout_s = 10, step_timeout_s = 600, join_timeout_s = 60, stop_grace_s = 25;
  bool must_join = true;  // the programs are known to be Cohaul's
};

/// Blocks until every process has ended. The first failure decides: nothing where all went well. stopped: whether it was a signal, after a checkpoint.
Outcome launch_and_wait(const Launching& launching, bool* stopped = nullptr);

}  // namespace cohaul::cli
