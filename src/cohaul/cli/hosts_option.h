#pragma once
// The options `--hosts` and `--ssh`: on which hosts the processes of a job run.

#include <optional>
#include <string>

#include "cohaul/base/status.h"
#include "cohaul/job/engines/place.h"
#include "cohaul/job/launcher.h"

namespace cohaul::cli {

struct HostsOption {
  std::string hosts{};      // "node1:2,node2:2"; empty: this host alone
  std::string ssh = "ssh";  // the command, which may have options: "ssh -p 2222"
  bool given() const { return !hosts.empty(); }
};

/// Sets the job's hosts, and where the program is on them. workers: the number that the user gave; none: the sum over the hosts, or one each. Errors:
/// invalid, naming --hosts.
Status set_hosts(const HostsOption& option, std::optional<std::int64_t> workers, job::LaunchOptions& out);

/// Returns invalid where an engine has started several tasks, because the engine has chosen the hosts already.
Status refuse_hosts(const job::Place& place);

}  // namespace cohaul::cli
