#pragma once
// `--hosts` and `--ssh`: on which hosts the processes of a job run.

#include <optional>
#include <string>

#include "cohaul/base/status.h"
#include "cohaul/job/engines/place.h"
#include "cohaul/job/launcher.h"

namespace cohaul::cli {

struct HostsOption {
  std::string hosts{};      // "node1:2,node2:2"; empty: this host alone
  std::string ssh = "ssh";  // with options of its own: "ssh -p 2222"
  bool given() const { return !hosts.empty(); }
};

/// Hosts of the job and where the program lies there. workers: as the user has said; none: as many as the hosts are given, or one each. invalid, naming
/// --hosts.
Status set_hosts(const HostsOption& option, std::optional<std::int64_t> workers, job::LaunchOptions& out);

/// invalid where an engine has started several tasks: it has chosen the hosts already.
Status refuse_hosts(const job::Place& place);

}  // namespace cohaul::cli
