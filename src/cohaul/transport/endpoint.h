#pragma once
// Endpoint: where peers connect. Listens on TCP and, for peers of this host, on an abstract Unix socket; greets (hello,
// identity check) without blocking; hands out channels whose peer is known.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cohaul/transport/channel.h"
#include "cohaul/transport/poller.h"

namespace cohaul::transport {

/// Which form a connection takes. auto_: the ring where both are on one host, TCP otherwise.
enum class Form : std::uint8_t { auto_, arena, tcp };

/// Where an endpoint listens; travels as text through the rendezvous. encode: "host_id|unix_name|tcp_host|tcp_port".
struct Address {
  std::string host_id;    // equal = same host (boot id and namespace); memory can be shared
  std::string unix_name;  // abstract socket, empty: none
  std::string host;       // numeric IPv4/IPv6 address
  std::uint16_t port = 0;
  std::string encode() const;
  static Result<Address> decode(std::string_view text);  // corrupt
};

/// Identity of this host for Address::host_id.
std::string this_host_id();

class Endpoint {
 public:
  virtual ~Endpoint() = default;
  /// The next channel that has been greeted and accepted; frames may be waiting in it. Never blocks. The caller adds it to a poller.
  /// A peer that fails the hello is told why and dropped; its reason is logged through `last_refusal()`.
  virtual Result<std::unique_ptr<Channel>> accept() = 0;  // a null pointer: none now
  virtual const Address& address() const = 0;
  virtual std::string last_refusal() const = 0;
};

/// host: numeric address to listen on (job.address); port 0: any free. Registers with `poller` so that its wait() returns when
/// accept() has one. Errors: invalid (bad address), unavailable (port taken; names host and port), internal.
Result<std::unique_ptr<Endpoint>> listen(Poller& poller, const Identity& self, const std::string& host,
                                         std::uint16_t port);

/// Connects and greets; blocks until `deadline`. Retries while nobody listens yet; asks `may_come` before each retry, and returns its error. Errors: peer_lost (deadline; names the address),
/// invalid or unsupported (the peer refused the hello: its reason), unsupported (arena asked for, other host).
Result<std::unique_ptr<Channel>> connect(const Address& to, const Identity& self, Form form, Time deadline,
                                         const std::function<Status()>& may_come = {});

}  // namespace cohaul::transport
