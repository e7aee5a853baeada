#pragma once
// "host:port" as people write it.

#include <cstdint>
#include <string>
#include <string_view>

#include "cohaul/base/status.h"

namespace cohaul::job {

struct HostPort {
  std::string host;
  std::uint16_t port = 0;  // 0: none was given
  std::string text() const;
};

/// "127.0.0.1", "node7:5000", "[::1]:5000". invalid: no host, or a port that is no number in 0…65535.
Result<HostPort> parse_host_port(std::string_view text);
/// The first numeric address of a host. Blocks on the resolver. invalid: unknown.
Result<std::string> resolve(const std::string& host);
/// The numeric address of this machine from which packets to `numeric_host` leave; loopback for loopback.
Result<std::string> local_address_towards(const std::string& numeric_host);
/// The numeric address under which other hosts reach this one: that of its default route, else of its first interface that is up. unavailable: it has
/// no network but loopback.
Result<std::string> outward_address();
bool is_loopback(const std::string& numeric_host);

}  // namespace cohaul::job
