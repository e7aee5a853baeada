#pragma once
// "host:port" as people write it.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/status.h"
#include "cohaul/transport/endpoint.h"

namespace cohaul::job {

struct HostPort {
  std::string host;
  std::uint16_t port = 0;  // 0: none was given
  std::string text() const;
};

/// Reads "127.0.0.1", "node7:5000", "[::1]:5000". invalid: no host, or a port that is no number in 0…65535.
Result<HostPort> parse_host_port(std::string_view text);
/// Reads "20000-20100", or one port. invalid: anything else.
Result<transport::PortRange> parse_ports(std::string_view text);
/// Returns the parts of "a,b"; empty ones are left out.
std::vector<std::string> split_hosts(std::string_view text);
std::string comma_list(const std::vector<std::string>& hosts);

/// Returns the numeric addresses of a host, the best first. Blocks on the resolver, at most until `deadline`, and asks it again while it does not know
/// the name, since a host that comes up later gets its name later. deadline: 0: it asks once, as long as that takes. invalid: unknown.
Result<std::vector<std::string>> resolve(const std::string& host, Time deadline = 0);
/// Returns the numeric addresses of this host that `where` means: an address, a name, an interface ("eth0"), or "*"
/// for all that other hosts can reach. invalid: no such name, or not of this host.
Result<std::vector<std::string>> own_addresses(const std::string& where);
/// Returns the numeric address of this machine from which packets to `numeric_host` leave; loopback for loopback.
Result<std::string> local_address_towards(const std::string& numeric_host);
/// Returns the numeric addresses at which other hosts reach this one, that of its default route first. Those that
/// hold on one link alone (fe80::) are there only where it has no others. unavailable: it has no network but
/// loopback.
Result<std::vector<std::string>> outward_addresses();
bool is_loopback(const std::string& numeric_host);
bool all_loopback(const std::vector<std::string>& numeric_hosts);

}  // namespace cohaul::job
