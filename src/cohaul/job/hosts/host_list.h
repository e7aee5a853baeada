#pragma once
// The hosts of a job as people write them: "node1:2,node2:2".

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/job/member.h"

namespace cohaul::job {

struct HostSlots {
  std::string name;  // as ssh knows it: "node1", "user@node1"
  int workers = 1;
};

/// Returns the hosts with their numbers of workers. Hosts without a number share `workers` evenly, or have one each
/// where that is not given. invalid: no host, a host twice, a number that is none, or numbers that do not add up to
/// `workers`.
Result<std::vector<HostSlots>> parse_hosts(std::string_view text, std::optional<int> workers);

/// Returns the members that run on each host: workers in the order of hosts, servers one by one over all hosts.
std::vector<std::vector<MemberKey>> deal_members(const std::vector<HostSlots>& hosts, int servers);

}  // namespace cohaul::job
