#pragma once
// Endpoint: where peers connect. Listens on TCP and, for peers of this host, on an abstract Unix socket; greets (hello,
// identity check) without blocking; hands out channels whose peer is known.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cohaul/transport/channel.h"
#include "cohaul/transport/options.h"
#include "cohaul/transport/poller.h"

namespace cohaul::transport {

/// The addresses at which an endpoint can be reached; they travel as text through the rendezvous.
struct Address {
  std::string unix_name{};           // abstract socket, for peers of this host; empty: none
  std::vector<std::string> hosts{};  // numeric IPv4 and IPv6 addresses, to be tried in this order
  std::uint16_t port = 0;            // at each
  /// "unix_name|port|host,host"
  std::string encode() const;
  static Result<Address> decode(std::string_view text);  // corrupt
  /// With the addresses of this host last: a peer of another host may have them, too (Docker's 172.17.0.1), but here only this host's processes answer.
  Address own_last() const;
  /// "10.0.0.1 port 4242", for messages.
  std::string text() const;
};

/// Where an endpoint is to listen.
struct Listening {
  std::vector<std::string> hosts;  // numeric addresses of this host
  std::uint16_t port = 0;          // at each; 0: a free one of `ports`
  PortRange ports{};
};

class Endpoint {
 public:
  virtual ~Endpoint() = default;
  /// Returns the next channel that has been greeted and accepted; frames may be waiting in it. Never blocks. The
  /// caller adds it to a poller. A peer that fails the hello is told why and dropped; last_refusal() says the reason.
  virtual Result<std::unique_ptr<Channel>> accept() = 0;  // a null pointer: none now
  virtual const Address& address() const = 0;
  virtual std::string last_refusal() const = 0;
};

/// Listens, and registers with `poller` so that its wait() returns when accept() has a channel. Errors: invalid (an
/// address that this host has not), unavailable (the port, or all of the range, taken; names host and port),
/// internal.
Result<std::unique_ptr<Endpoint>> listen(Poller& poller, const Identity& self, const Listening& where);
/// Listens at one address. port 0: any free.
Result<std::unique_ptr<Endpoint>> listen(Poller& poller, const Identity& self, const std::string& host,
                                         std::uint16_t port);

/// Connects and greets; blocks until `deadline`. A peer is on this host where its Unix socket is. Tries the addresses
/// in turn, and again while none of them listens yet or the peer closes before its answer. Asks `may_come` before
/// each retry, and returns its error. Errors: peer_lost (deadline; names the address), invalid or unsupported (the
/// peer refused the hello: its reason), unsupported (arena asked for, other host).
Result<std::unique_ptr<Channel>> connect(const Address& to, const Identity& self, Form form, Time deadline,
                                         const std::function<Status()>& may_come = {});

}  // namespace cohaul::transport
