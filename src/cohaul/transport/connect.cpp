// connect(): the client's side of the hello.

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "cohaul/transport/endpoint.h"
#include "cohaul/transport/hello.h"
#include "cohaul/transport/ring_channel.h"
#include "cohaul/transport/socket.h"
#include "cohaul/transport/tcp_channel.h"

namespace cohaul::transport {
namespace {

constexpr Duration kRetryAfter = 2 * kMillisecond;

std::string describe(const Address& to, bool ring) {
  return ring ? "this host's endpoint " + to.unix_name : to.host + " port " + std::to_string(to.port);
}

/// A connected socket. unavailable: nobody listens yet.
Result<Descriptor> open_once(const Address& to, bool ring, Time deadline) {
  if (ring) return unix_connect(to.unix_name);
  COHAUL_ASSIGN(Descriptor socket, tcp_connect(to.host, to.port));
  if (!wait_for(socket.get(), POLLOUT, deadline)) return unavailable("no answer");
  if (int error = socket_error(socket.get()); error != 0) return unavailable(std::strerror(error));
  return socket;
}

Result<Descriptor> open(const Address& to, bool ring, Time deadline, const std::function<Status()>& may_come) {
  for (;;) {
    auto socket = open_once(to, ring, deadline);
    if (socket.ok() || socket.status().code() != Code::unavailable) return socket;
    if (may_come) COHAUL_TRY(may_come());
    Time now = steady_clock().now();
    if (now >= deadline) return peer_lost("no connection before the deadline: " + std::string(socket.status().cause()));
    wait_for(-1, 0, std::min(deadline, now + kRetryAfter));
  }
}

Status send_hello(int socket, ConstBytes hello, const std::vector<int>& descriptors, Time deadline) {
  while (!hello.empty()) {
    long n = send_with_descriptors(socket, hello, descriptors);
    if (n == -EAGAIN && !wait_for(socket, POLLOUT, deadline))
      return peer_lost("the hello could not be sent before the deadline");
    if (n == -EAGAIN || n == -EINTR) continue;
    if (n < 0) return peer_lost(std::string("connection closed (") + std::strerror(static_cast<int>(-n)) + ")");
    hello = hello.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

/// Reads exactly `into` (TCP), or one message of at most that (Unix socket).
Result<std::size_t> read_answer(int socket, Bytes into, bool ring, Time deadline) {
  std::size_t have = 0;
  while (have < into.size()) {
    long n = recv(socket, into.data() + have, into.size() - have, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      if (!wait_for(socket, POLLIN, deadline)) return peer_lost("no answer to the hello before the deadline");
      continue;
    }
    if (n <= 0) return peer_lost("connection closed during the hello");
    have += static_cast<std::size_t>(n);
    if (ring) break;
  }
  return have;
}

Result<Identity> greet(int socket, const Identity& self, bool ring, const std::vector<int>& descriptors,
                       Time deadline) {
  COHAUL_TRY(
      send_hello(socket, encode_hello(self, FrameType::hello, ring ? kCapabilityRing : 0), descriptors, deadline));
  std::vector<std::byte> answer(kHeaderBytes + kHelloBytesMax);
  COHAUL_ASSIGN(std::size_t have,
                read_answer(socket, ring ? Bytes(answer) : Bytes(answer).first(kHeaderBytes), ring, deadline));
  COHAUL_ASSIGN(Header header, decode_header(ConstBytes(answer).first(have)));
  if (header.body_length > kHelloBytesMax) return corrupt("an answer to the hello that is too long");
  if (!ring) {
    COHAUL_ASSIGN(std::size_t body,
                  read_answer(socket, Bytes(answer).subspan(kHeaderBytes, header.body_length), ring, deadline));
    have += body;
  }
  ConstBytes body = ConstBytes(answer).subspan(kHeaderBytes, have - kHeaderBytes);
  if (header.type == FrameType::refusal) return decode_refusal(body);
  if (header.type != FrameType::welcome) return corrupt("an answer to the hello that is none");
  COHAUL_ASSIGN(Hello hello, decode_hello(header, body));
  COHAUL_TRY(verify(self, hello.who));
  hello.who.purpose = self.purpose;  // the conversation is the one that was asked for
  return hello.who;
}

Result<std::unique_ptr<Channel>> connect_once(const Address& to, const Identity& self, bool ring, Time deadline,
                                              const std::function<Status()>& may_come) {
  std::optional<RingParts> parts;
  if (ring) {
    COHAUL_ASSIGN(parts, RingParts::make());
  }
  COHAUL_ASSIGN(Descriptor socket, open(to, ring, deadline, may_come));
  COHAUL_ASSIGN(Identity peer,
                greet(socket.get(), self, ring, parts ? parts->descriptors() : std::vector<int>(), deadline));
  if (!ring) return std::unique_ptr<Channel>(std::make_unique<TcpChannel>(std::move(socket), self, peer));
  return std::unique_ptr<Channel>(std::make_unique<RingChannel>(std::move(socket), std::move(*parts), self, peer));
}

}  // namespace

Result<std::unique_ptr<Channel>> connect(const Address& to, const Identity& self, Form form, Time deadline,
                                         const std::function<Status()>& may_come) {
  bool same_host = !to.unix_name.empty() && !to.host_id.empty() && to.host_id == this_host_id();
  if (form == Form::arena && !same_host) {
    return unsupported("transport 'arena' needs both processes on one host, and " + to.host + " port " +
                       std::to_string(to.port) + " is on another; use 'auto' or 'tcp'");
  }
  bool ring = form != Form::tcp && same_host;
  return connect_once(to, self, ring, deadline, may_come).context("connect to " + describe(to, ring));
}

}  // namespace cohaul::transport
