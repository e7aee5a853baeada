#include "cohaul/job/host_port.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <memory>

namespace cohaul::job {
namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Result<Addresses> look_up(const std::string& host, const char* port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (int error = ::getaddrinfo(host.c_str(), port, &hints, &found); error != 0) {
    return invalid("unknown host '" + host + "': " + ::gai_strerror(error));
  }
  return Addresses(found, &::freeaddrinfo);
}

Result<std::string> numeric(const sockaddr* address, socklen_t length) {
  char text[NI_MAXHOST];
  if (int error = ::getnameinfo(address, length, text, sizeof text, nullptr, 0, NI_NUMERICHOST); error != 0) {
    return internal(std::string("getnameinfo: ") + ::gai_strerror(error));
  }
  return std::string(text);
}

}  // namespace

std::string HostPort::text() const {
  std::string h = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return port == 0 ? h : h + ":" + std::to_string(port);
}

Result<HostPort> parse_host_port(std::string_view text) {
  HostPort out;
  std::string_view port;
  std::string shown(text);
  if (!text.empty() && text.front() == '[') {
    auto end = text.find(']');
    if (end == std::string_view::npos) return invalid("'" + shown + "': a ']' is missing");
    out.host = text.substr(1, end - 1);
    std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && rest.front() != ':') return invalid("'" + shown + "' is not host:port");
    if (!rest.empty()) port = rest.substr(1);
    if (!rest.empty() && port.empty()) return invalid("'" + shown + "': the port is missing after ':'");
  } else {
    auto colon = text.find(':');
    bool ipv6 = colon != std::string_view::npos && text.find(':', colon + 1) != std::string_view::npos;
    out.host = ipv6 ? text : text.substr(0, colon);
    if (!ipv6 && colon != std::string_view::npos) {
      port = text.substr(colon + 1);
      if (port.empty()) return invalid("'" + shown + "': the port is missing after ':'");
    }
  }
  if (out.host.empty()) return invalid("'" + shown + "' names no host: write host or host:port");
  if (!port.empty()) {
    auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
    if (error != std::errc() || end != port.data() + port.size()) {
      return invalid("'" + shown + "': the port '" + std::string(port) + "' is not a number in 0 … 65535");
    }
  }
  return out;
}

Result<std::string> resolve(const std::string& host) {
  COHAUL_ASSIGN(Addresses found, look_up(host, nullptr));
  return numeric(found->ai_addr, found->ai_addrlen);
}

Result<std::string> local_address_towards(const std::string& numeric_host) {
  COHAUL_ASSIGN(Addresses found, look_up(numeric_host, "9"));
  int fd = ::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return system_error("socket", errno);
  sockaddr_storage own{};
  socklen_t length = sizeof own;
  // Connecting a datagram socket sends nothing: it only chooses the route.
  bool ok = ::connect(fd, found->ai_addr, found->ai_addrlen) == 0 &&
            ::getsockname(fd, reinterpret_cast<sockaddr*>(&own), &length) == 0;
  int error = errno;
  ::close(fd);
  if (!ok) return system_error("no route to " + numeric_host, error);
  return numeric(reinterpret_cast<sockaddr*>(&own), length);
}

Result<std::string> outward_address() {
  constexpr const char* kElsewhere = "192.0.2.1";  // of no host (RFC 5737)
  if (Result<std::string> own = local_address_towards(kElsewhere); own.ok() && !is_loopback(*own)) return own;
  ifaddrs* found = nullptr;
  if (::getifaddrs(&found) != 0) return system_error("getifaddrs", errno);
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> all(found, &::freeifaddrs);
  for (const ifaddrs* i = found; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr || (i->ifa_flags & IFF_UP) == 0 || (i->ifa_flags & IFF_LOOPBACK) != 0) continue;
    const int family = i->ifa_addr->sa_family;
    if (family == AF_INET) return numeric(i->ifa_addr, sizeof(sockaddr_in));
    if (family == AF_INET6) return numeric(i->ifa_addr, sizeof(sockaddr_in6));
  }
  return unavailable("this host has no network but loopback: the others cannot reach it");
}

bool is_loopback(const std::string& numeric_host) { return numeric_host.starts_with("127.") || numeric_host == "::1"; }

}  // namespace cohaul::job
