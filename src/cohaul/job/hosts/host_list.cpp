#include "cohaul/job/hosts/host_list.h"

#include <algorithm>
#include <charconv>

#include "cohaul/base/limits.h"
#include "cohaul/job/host_port.h"

namespace cohaul::job {
namespace {

/// "node1:2" → the host, and its number if there is one. An IPv6 address with a number is in brackets.
Result<HostSlots> parse_one(const std::string& text) {
  const std::size_t bracket = text.find(']'), colon = text.rfind(':');
  const bool is_bare_address = bracket == std::string::npos && std::count(text.begin(), text.end(), ':') > 1;
  HostSlots out{.name = text, .workers = 0};
  if (colon != std::string::npos && !is_bare_address && (bracket == std::string::npos || colon > bracket)) {
    const char* const end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data() + colon + 1, end, out.workers);
    if (error != std::errc() || at != end || out.workers < 1 || out.workers > kLaunchedMax)
      return invalid("'" + text + "': after ':' comes a number of workers, 1 … " + std::to_string(kLaunchedMax));
    out.name = text.substr(0, colon);
  }
  if (out.name.starts_with('[') && out.name.ends_with(']')) out.name = out.name.substr(1, out.name.size() - 2);
  if (out.name.empty() || out.name.starts_with('-')) return invalid("'" + text + "' names no host");
  return out;
}

}  // namespace

Result<std::vector<HostSlots>> parse_hosts(std::string_view text, std::optional<int> workers) {
  std::vector<HostSlots> out;
  int counted = 0, open = 0;
  for (const std::string& part : split_hosts(text)) {
    COHAUL_ASSIGN(HostSlots host, parse_one(part));
    const bool twice = std::any_of(out.begin(), out.end(), [&](const HostSlots& h) { return h.name == host.name; });
    if (twice)
      return invalid("'" + host.name + "' is there twice: give it all its workers at once, as " + host.name + ":2");
    counted += host.workers;
    open += host.workers == 0 ? 1 : 0;
    out.push_back(std::move(host));
  }
  if (out.empty()) return invalid("there is no host: write node1:2,node2:2");
  const int left = workers ? *workers - counted : open;
  if (left < open || (open == 0 && left != 0))
    return invalid("the hosts have " + std::to_string(counted) + " workers, and the job has " +
                   std::to_string(workers.value_or(0)) + ": leave the number of workers out, or let them be equal");
  for (int i = 0; HostSlots & host : out) {
    if (host.workers > 0) continue;
    host.workers = left / open + (i++ < left % open ? 1 : 0);
  }
  return out;
}

std::vector<std::vector<MemberKey>> deal_members(const std::vector<HostSlots>& hosts, int servers) {
  std::vector<std::vector<MemberKey>> out(hosts.size());
  for (int k = 0; k < servers; ++k)
    out[static_cast<std::size_t>(k) % hosts.size()].push_back({transport::Role::server, k});
  int rank = 0;
  for (std::size_t h = 0; h < hosts.size(); ++h)
    for (int i = 0; i < hosts[h].workers; ++i) out[h].push_back({transport::Role::worker, rank++});
  return out;
}

}  // namespace cohaul::job
