// connect(): the client's side of the hello, and retries until the peer listens.

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

constexpr Duration kRetryFirst = 2 * kMillisecond, kRetryMost = 50 * kMillisecond;
constexpr Duration kOneOfSeveral = kSecond;  // for an address, while there are others
constexpr Duration kClosesFor = 4 * kSecond;

/// Time between tries: short at first, then longer.
class Retries {
 public:
  Retries(Time deadline, const std::function<Status()>& may_come) : deadline_(deadline), may_come_(may_come) {}
  /// Blocks until the next try is due. Errors: may_come's; peer_lost: the deadline has come. why: of the last try.
  Status next(const Status& why) {
    if (may_come_) COHAUL_TRY(may_come_());
    const Time now = steady_clock().now();
    if (now >= deadline_) return peer_lost("no connection before the deadline: " + std::string(why.cause()));
    wait_for(-1, 0, std::min(deadline_, now + pause_));
    pause_ = std::min(2 * pause_, kRetryMost);
    return {};
  }

 private:
  const Time deadline_;
  const std::function<Status()>& may_come_;
  Duration pause_ = kRetryFirst;
};

/// Returns a connected socket. unavailable: the peer does not listen yet.
Result<Descriptor> open_once(const std::string& host, std::uint16_t port, Time deadline) {
  COHAUL_ASSIGN(Descriptor socket, tcp_connect(host, port));
  if (!wait_for(socket.get(), POLLOUT, deadline)) return unavailable("no answer");
  if (int error = socket_error(socket.get()); error != 0) return unavailable(std::strerror(error));
  return socket;
}

Status await(Stream& stream, short events, Time deadline, const char* what) {
  return wait_for(stream.fd(), events, deadline) ? Status() : peer_lost(std::string(what) + " before the deadline");
}

Status shake_hands(Stream& stream, Time deadline) {
  for (;;) {
    COHAUL_ASSIGN(const bool done, stream.handshake());
    if (done) return {};
    COHAUL_TRY(await(stream, stream.wants(), deadline, "no TLS handshake"));
  }
}

Status send_hello(Stream& stream, ConstBytes hello, Time deadline) {
  while (!hello.empty()) {
    const iovec part{const_cast<std::byte*>(hello.data()), hello.size()};
    const ssize_t n = stream.write({&part, 1});
    if (n == -EAGAIN) COHAUL_TRY(await(stream, POLLOUT, deadline, "the hello could not be sent"));
    if (n == -EAGAIN || n == -EINTR) continue;
    if (n < 0) return peer_lost(closed_text(n));
    hello = hello.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Status read_exactly(Stream& stream, Bytes into, Time deadline) {
  while (!into.empty()) {
    const ssize_t n = stream.read(into);
    if (n == -EAGAIN) COHAUL_TRY(await(stream, POLLIN, deadline, "no answer to the hello"));
    if (n == -EAGAIN || n == -EINTR) continue;
    if (n == -EPROTO) return invalid("the other end has refused this process (a TLS alert)");
    if (n <= 0) return peer_lost("connection closed during the hello");
    into = into.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

/// The answer to a hello over the Unix socket: one message.
Result<std::size_t> greet_over_unix(int socket, ConstBytes hello, const std::vector<int>& descriptors, Bytes into,
                                    Time deadline) {
  for (long n = -EAGAIN; n < 0;) {
    n = send_with_descriptors(socket, hello, descriptors);
    if (n == -EAGAIN && !wait_for(socket, POLLOUT, deadline))
      return peer_lost("the hello could not be sent before the deadline");
    if (n < 0 && n != -EAGAIN && n != -EINTR) return peer_lost(closed_text(n));
  }
  for (;;) {
    const ssize_t n = recv(socket, into.data(), into.size(), 0);
    if (n > 0) return static_cast<std::size_t>(n);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0 || errno != EAGAIN) return peer_lost("connection closed during the hello");
    if (!wait_for(socket, POLLIN, deadline)) return peer_lost("no answer to the hello before the deadline");
  }
}

Result<Identity> answered(const Identity& self, const Header& header, ConstBytes body) {
  if (header.type == FrameType::refusal) return decode_refusal(body);
  if (header.type != FrameType::welcome) return corrupt("an answer to the hello that is none");
  COHAUL_ASSIGN(Hello hello, decode_hello(header, body));
  COHAUL_TRY(verify(self, hello.who));
  hello.who.purpose = self.purpose;  // the conversation is the one that was asked for
  return hello.who;
}

/// Null where the peer is on another host: its socket's name is not found here.
Result<std::unique_ptr<Channel>> connect_by_ring(const Address& to, const Identity& self, Time deadline,
                                                 const std::function<Status()>& may_come) {
  COHAUL_ASSIGN(Descriptor socket, unix_connect(to.unix_name, deadline, may_come));
  if (!socket.valid()) return std::unique_ptr<Channel>();
  COHAUL_ASSIGN(RingParts parts, RingParts::make());
  std::vector<std::byte> answer(kHeaderBytes + kHelloBytesMax);
  COHAUL_ASSIGN(const std::size_t have,
                greet_over_unix(socket.get(), encode_hello(self, FrameType::hello, kCapabilityRing),
                                parts.descriptors(), answer, deadline));
  COHAUL_ASSIGN(const Header header, decode_header(ConstBytes(answer).first(have)));
  COHAUL_ASSIGN(Identity peer, answered(self, header, ConstBytes(answer).subspan(kHeaderBytes, have - kHeaderBytes)));
  return std::unique_ptr<Channel>(std::make_unique<RingChannel>(std::move(socket), std::move(parts), self, peer));
}

Result<std::unique_ptr<Channel>> greet_by_tcp(Descriptor socket, const Identity& self, Time deadline) {
  COHAUL_ASSIGN(std::unique_ptr<Stream> stream, make_stream(std::move(socket), self.credentials, Side::connecting));
  COHAUL_TRY(shake_hands(*stream, deadline));
  COHAUL_TRY(send_hello(*stream, encode_hello(self, FrameType::hello, 0), deadline));
  std::vector<std::byte> answer(kHeaderBytes);
  COHAUL_TRY(read_exactly(*stream, answer, deadline));
  COHAUL_ASSIGN(const Header header, decode_header(answer));
  if (header.body_length > kHelloBytesMax) return corrupt("an answer to the hello that is too long");
  std::vector<std::byte> body(header.body_length);
  COHAUL_TRY(read_exactly(*stream, body, deadline));
  COHAUL_ASSIGN(Identity peer, answered(self, header, body));
  COHAUL_TRY(stream->may_speak_as(peer));
  return std::unique_ptr<Channel>(std::make_unique<TcpChannel>(std::move(stream), self, peer));
}

/// Tries each address once. unavailable: the peer listens at none.
Result<std::unique_ptr<Channel>> try_all(const Address& to, const Identity& self, Time deadline) {
  Status failed;
  for (const std::string& host : to.hosts) {
    const bool only = to.hosts.size() == 1;
    Result<Descriptor> socket =
        open_once(host, to.port, only ? deadline : std::min(deadline, steady_clock().now() + kOneOfSeveral));
    if (!socket.ok()) {
      if (failed.ok()) failed = socket.status();
      continue;
    }
    auto channel = greet_by_tcp(std::move(*socket), self, deadline);
    if (channel.ok()) return channel;
    failed = channel.status();  // this address answered, which says more than one that did not
  }
  return failed.ok() ? invalid("the peer's address names no host") : failed;
}

/// A peer with a crowd of clients may close a connection before it answers, so it is tried again. One that does so
/// for long is another program.
Result<std::unique_ptr<Channel>> connect_by_tcp(const Address& to, const Identity& self, Time deadline,
                                                const std::function<Status()>& may_come) {
  const Time closes_until = steady_clock().now() + kClosesFor;
  for (Retries retries(deadline, may_come);;) {
    auto channel = try_all(to, self, deadline);
    const Time now = steady_clock().now();
    const Code code = channel.status().code();
    const bool again = code == Code::unavailable || (code == Code::peer_lost && now < std::min(closes_until, deadline));
    if (channel.ok() || !again) return channel;
    COHAUL_TRY(retries.next(channel.status()));
  }
}

}  // namespace

Result<Descriptor> unix_connect(const std::string& name, Time deadline, const std::function<Status()>& may_come) {
  for (Retries retries(deadline, may_come);;) {
    auto socket = unix_connect(name);
    if (socket.ok() || socket.status().code() != Code::unavailable) return socket;
    COHAUL_TRY(retries.next(socket.status()));
  }
}

Result<std::unique_ptr<Channel>> connect(const Address& to, const Identity& self, Form form, Time deadline,
                                         const std::function<Status()>& may_come) {
  if (form != Form::tcp && !to.unix_name.empty()) {
    Result<std::unique_ptr<Channel>> channel = connect_by_ring(to, self, deadline, may_come);
    if (!channel.ok() || *channel != nullptr)
      return std::move(channel).context("connect to this host's endpoint " + to.unix_name);
  }
  if (form == Form::arena)
    return unsupported("transport 'arena' needs both processes on one host, and " + to.text() +
                       " is on another; use 'auto' or 'tcp'");
  return connect_by_tcp(to.own_last(), self, deadline, may_come).context("connect to " + to.text());
}

}  // namespace cohaul::transport
