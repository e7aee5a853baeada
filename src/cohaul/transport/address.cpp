// Address of an endpoint as text.

#include <algorithm>
#include <charconv>

#include "cohaul/base/limits.h"
#include "cohaul/transport/endpoint.h"
#include "cohaul/transport/socket.h"

namespace cohaul::transport {

std::string_view name(Form form) {
  switch (form) {
    case Form::auto_: return "auto";
    case Form::arena: return "arena";
    case Form::tcp: return "tcp";
  }
  return "unknown form";
}

std::optional<Form> form_of(std::string_view text) {
  for (const Form form : {Form::auto_, Form::arena, Form::tcp})
    if (name(form) == text) return form;
  return std::nullopt;
}
std::string Address::encode() const {
  std::string out = unix_name + "|" + std::to_string(port) + "|";
  for (std::size_t i = 0; i < hosts.size(); ++i) out += (i > 0 ? "," : "") + hosts[i];
  return out;
}

Result<Address> Address::decode(std::string_view text) {
  const std::size_t first = text.find('|'), second = text.find('|', first + 1);
  if (first == std::string_view::npos || second == std::string_view::npos)
    return corrupt("an address that is not unix_name|port|host,host");
  Address a{.unix_name = std::string(text.substr(0, first))};
  const std::string_view port = text.substr(first + 1, second - first - 1);
  const auto [at, error] = std::from_chars(port.data(), port.data() + port.size(), a.port);
  if (error != std::errc() || at != port.data() + port.size())
    return corrupt("an address with a port that is no number from 0 to 65535");
  for (std::string_view hosts = text.substr(second + 1);;) {
    const std::size_t comma = hosts.find(',');
    const std::string_view host = hosts.substr(0, comma);
    if (host.empty() || host.find('|') != std::string_view::npos || a.hosts.size() == kHostsMax)
      return corrupt("an address whose hosts are none, too many or empty");
    a.hosts.emplace_back(host);
    if (comma == std::string_view::npos) return a;
    hosts.remove_prefix(comma + 1);
  }
}

Address Address::own_last() const {
  Address out = *this;
  std::ranges::stable_partition(out.hosts, [](const std::string& host) { return !is_of_this_host(host); });
  return out;
}

std::string Address::text() const {
  std::string out;
  for (const std::string& host : hosts) out += (out.empty() ? "" : " or ") + host;
  return out + " port " + std::to_string(port);
}

}  // namespace cohaul::transport
