#include "cohaul/cli/hosts_option.h"

#include <sstream>

#include "cohaul/cli/child.h"

namespace cohaul::cli {

Status set_hosts(const HostsOption& option, std::optional<std::int64_t> workers, job::LaunchOptions& out) {
  COHAUL_ASSIGN(out.hosts,
                job::parse_hosts(option.hosts, workers ? std::optional(static_cast<int>(*workers)) : std::nullopt)
                    .context("--hosts"));
  out.workers = 0;
  for (const job::HostSlots& host : out.hosts) out.workers += host.workers;
  out.ssh.clear();
  std::istringstream words(option.ssh);
  for (std::string word; words >> word;) out.ssh.push_back(word);
  if (out.ssh.empty()) return invalid("--ssh: names no program; leave it out for ssh");
  COHAUL_ASSIGN(const std::string folder, own_folder());
  out.cohaul = folder + "/cohaul";
  return {};
}

Status refuse_hosts(const job::Place& place) {
  if (place.tasks == 1) return {};
  return invalid("--hosts: " + place.engine + " has started " + std::to_string(place.tasks) +
                 " tasks, which are the job's processes: leave --hosts out, or start the command once");
}

}  // namespace cohaul::cli
