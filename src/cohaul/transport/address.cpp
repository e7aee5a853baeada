// Address of an endpoint as text, and what identifies a host.

#include <sys/stat.h>

#include <charconv>
#include <fstream>

#include "cohaul/transport/endpoint.h"

namespace cohaul::transport {

std::string Address::encode() const { return host_id + "|" + unix_name + "|" + host + "|" + std::to_string(port); }

Result<Address> Address::decode(std::string_view text) {
  std::string_view parts[4];
  for (int i = 0; i < 4; ++i) {
    std::size_t bar = text.find('|');
    if ((bar == std::string_view::npos) != (i == 3))
      return corrupt("an address that is not host_id|unix_name|host|port");
    parts[i] = text.substr(0, bar);
    if (i < 3) text.remove_prefix(bar + 1);
  }
  Address a{std::string(parts[0]), std::string(parts[1]), std::string(parts[2]), 0};
  const char* end = parts[3].data() + parts[3].size();
  auto [at, error] = std::from_chars(parts[3].data(), end, a.port);
  if (error != std::errc() || at != end) return corrupt("an address with a port that is no number from 0 to 65535");
  return a;
}

// Abstract sockets belong to a network namespace: two containers of one machine share memory only if they share that.
std::string this_host_id() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  struct stat net {};
  if (boot.empty() || stat("/proc/self/ns/net", &net) != 0) return {};
  return boot + ":" + std::to_string(net.st_ino);
}

}  // namespace cohaul::transport
