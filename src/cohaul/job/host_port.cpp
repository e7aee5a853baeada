#include "cohaul/job/host_port.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <thread>

#include "cohaul/transport/socket.h"

namespace cohaul::job {
namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;
using Interfaces = std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)>;

constexpr Duration kAskAgain = 200 * kMillisecond;

struct Answer {
  int error = 0;  // of getaddrinfo
  Addresses found{nullptr, &::freeaddrinfo};
};

Answer ask(const std::string& host, const char* port) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_DGRAM;
  const int error = ::getaddrinfo(host.c_str(), port, &hints, &found);
  return {error, Addresses(found, &::freeaddrinfo)};
}

/// As ask(), at most until the deadline; then nothing. The resolver cannot be interrupted, so it works on a thread that is left to end by itself. That
/// thread touches only what it owns.
std::optional<Answer> ask_until(Time deadline, const std::string& host) {
  std::packaged_task<Answer()> task([host] { return ask(host, nullptr); });
  std::future<Answer> answer = task.get_future();
  std::thread(std::move(task)).detach();
  const Duration left = std::max<Duration>(0, deadline - steady_clock().now());
  if (answer.wait_for(std::chrono::nanoseconds(left)) == std::future_status::timeout) return std::nullopt;
  return answer.get();
}

Status unknown(const std::string& host, const std::string& why) {
  return invalid("unknown host '" + host + "': " + why);
}

Result<Addresses> look_up(const std::string& host, Time deadline) {
  for (;;) {
    std::optional<Answer> answer = deadline > 0 ? ask_until(deadline, host) : ask(host, nullptr);
    if (!answer) return unknown(host, "no server of names has answered in time (/etc/resolv.conf)");
    const int error = answer->error;
    if (error == 0) return std::move(answer->found);
    const bool may_come = error == EAI_NONAME || error == EAI_AGAIN || error == EAI_NODATA || error == EAI_FAIL;
    if (!may_come || steady_clock().now() >= deadline) return unknown(host, ::gai_strerror(error));
    ::poll(nullptr, 0, kAskAgain / kMillisecond);
  }
}

struct OwnAddress {
  std::string interface, text;
};

/// Returns the addresses of the interfaces that are up.
Result<std::vector<OwnAddress>> all_own() {
  ifaddrs* found = nullptr;
  if (::getifaddrs(&found) != 0) return system_error("getifaddrs", errno);
  const Interfaces all(found, &::freeifaddrs);
  std::vector<OwnAddress> out;
  for (const ifaddrs* i = found; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr || (i->ifa_flags & IFF_UP) == 0) continue;
    const int family = i->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    COHAUL_ASSIGN(std::string text,
                  transport::numeric_text(i->ifa_addr, family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6)));
    out.push_back({i->ifa_name, std::move(text)});
  }
  return out;
}

void add_new(std::vector<std::string>& to, std::string text) {
  if (std::find(to.begin(), to.end(), text) == to.end()) to.push_back(std::move(text));
}

/// Returns whether the address holds on one link alone. Its user must name an interface, so others are better.
bool is_of_link(const std::string& address) { return address.find('%') != std::string::npos; }

void links_last(std::vector<std::string>& addresses) {
  std::stable_partition(addresses.begin(), addresses.end(), [](const std::string& a) { return !is_of_link(a); });
}

/// "lo (127.0.0.1), eth0 (10.0.0.2)"
std::string names_of(const std::vector<OwnAddress>& own) {
  std::string out;
  for (const OwnAddress& a : own) out += (out.empty() ? "" : ", ") + a.interface + " (" + a.text + ")";
  return out;
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

Result<transport::PortRange> parse_ports(std::string_view text) {
  transport::PortRange out;
  const char* const end = text.data() + text.size();
  auto read = std::from_chars(text.data(), end, out.first);
  out.last = out.first;
  if (read.ec == std::errc() && read.ptr != end && *read.ptr == '-')
    read = std::from_chars(read.ptr + 1, end, out.last);
  if (read.ec == std::errc() && read.ptr == end && out.first > 0 && out.first <= out.last) return out;
  return invalid("'" + std::string(text) + "' is no range of ports, such as 20000-20100");
}

std::vector<std::string> split_hosts(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(','));
    if (!part.empty()) out.emplace_back(part);
    text.remove_prefix(std::min(text.size(), part.size() + 1));
  }
  return out;
}

std::string comma_list(const std::vector<std::string>& hosts) {
  std::string out;
  for (const std::string& host : hosts) out += (out.empty() ? "" : ",") + host;
  return out;
}

Result<std::vector<std::string>> resolve(const std::string& host, Time deadline) {
  COHAUL_ASSIGN(Addresses found, look_up(host, deadline));
  std::vector<std::string> out;
  for (const addrinfo* a = found.get(); a != nullptr; a = a->ai_next) {
    COHAUL_ASSIGN(std::string text, transport::numeric_text(a->ai_addr, a->ai_addrlen));
    add_new(out, std::move(text));
  }
  return out;
}

Result<std::vector<std::string>> own_addresses(const std::string& where) {
  if (where == "*") return outward_addresses();
  COHAUL_ASSIGN(const std::vector<OwnAddress> own, all_own());
  std::vector<std::string> of_interface;
  for (const OwnAddress& a : own)
    if (a.interface == where) add_new(of_interface, a.text);
  if (!of_interface.empty()) {
    links_last(of_interface);
    return of_interface;
  }
  Result<std::vector<std::string>> named = resolve(where);
  if (!named.ok())
    return invalid("'" + where + "' is no address, name or interface of this host, which has " + names_of(own) + " (" +
                   std::string(named.status().message()) + ")");
  std::vector<std::string> out;
  for (const std::string& address : *named) {
    const bool is_own = is_loopback(address) || address == "0.0.0.0" || address == "::" ||
                        std::any_of(own.begin(), own.end(), [&](const OwnAddress& a) { return a.text == address; });
    if (is_own) add_new(out, address);
  }
  if (out.empty())
    return invalid("'" + where + "' is " + named->front() + ", which is no address of this host; it has " +
                   names_of(own));
  return out;
}

Result<std::string> local_address_towards(const std::string& numeric_host) {
  const Answer to = ask(numeric_host, "9");
  if (to.error != 0) return unknown(numeric_host, ::gai_strerror(to.error));
  int fd = ::socket(to.found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return system_error("socket", errno);
  sockaddr_storage own{};
  socklen_t length = sizeof own;
  // Connecting a datagram socket sends nothing: it only chooses the route.
  bool ok = ::connect(fd, to.found->ai_addr, to.found->ai_addrlen) == 0 &&
            ::getsockname(fd, reinterpret_cast<sockaddr*>(&own), &length) == 0;
  int error = errno;
  ::close(fd);
  if (!ok) return system_error("no route to " + numeric_host, error);
  return transport::numeric_text(reinterpret_cast<sockaddr*>(&own), length);
}

Result<std::vector<std::string>> outward_addresses() {
  std::vector<std::string> out;
  for (const char* elsewhere : {"192.0.2.1", "2001:db8::1"}) {  // of no host (RFC 5737, RFC 3849)
    Result<std::string> own = local_address_towards(elsewhere);
    if (own.ok() && !is_loopback(*own)) add_new(out, std::move(*own));
  }
  COHAUL_ASSIGN(const std::vector<OwnAddress> own, all_own());
  for (const OwnAddress& a : own)
    if (!is_loopback(a.text)) add_new(out, a.text);
  links_last(out);
  const bool has_better = !out.empty() && !is_of_link(out.front());
  if (has_better) std::erase_if(out, is_of_link);
  if (out.empty()) return unavailable("this host has no network but loopback: the others cannot reach it");
  return out;
}

bool is_loopback(const std::string& numeric_host) { return numeric_host.starts_with("127.") || numeric_host == "::1"; }

bool all_loopback(const std::vector<std::string>& numeric_hosts) {
  return std::all_of(numeric_hosts.begin(), numeric_hosts.end(), is_loopback);
}

}  // namespace cohaul::job
