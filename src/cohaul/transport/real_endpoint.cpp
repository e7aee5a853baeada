#include <sys/epoll.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>

#include "cohaul/base/digits.h"
#include "cohaul/base/limits.h"
#include "cohaul/transport/endpoint.h"
#include "cohaul/transport/hello.h"
#include "cohaul/transport/ring_channel.h"
#include "cohaul/transport/socket.h"
#include "cohaul/transport/tcp_channel.h"

namespace cohaul::transport {
namespace {

constexpr Duration kGreetingTime = 10 * kSecond;
constexpr int kPortTries = 16;  // to find a port that is free at all addresses

/// A connection whose hello is not complete yet.
class Greeting final : public Watched {
 public:
  /// Over the Unix socket: for a ring.
  Greeting(Descriptor socket, Time since) : unix_(std::move(socket)), since_(since), from_(peer_of(fd())) {}
  Greeting(std::unique_ptr<Stream> stream, Time since)
      : stream_(std::move(stream)), since_(since), from_(peer_of(fd())) {}

  Status attach(RealPoller& poller) override { return poller.watch(fd(), EPOLLIN | EPOLLRDHUP, *this); }
  void detach(RealPoller& poller) override { poller.unwatch(fd()); }
  void on_event(int, std::uint32_t) override { readable_ = true; }
  bool ready() override { return readable_; }

  bool is_late(Time now) const { return now - since_ > kGreetingTime; }
  const std::string& from() const { return from_; }
  /// Returns the hello, or nothing while it has not come whole. Errors: why it is none.
  Result<std::optional<Hello>> read();
  /// Sends `frame`. A fresh connection takes it whole at once.
  bool answer(ConstBytes frame) {
    const iovec part{const_cast<std::byte*>(frame.data()), frame.size()};
    const ssize_t n = stream_ ? stream_->write({&part, 1}) : send_with_descriptors(fd(), frame, {});
    return n == static_cast<ssize_t>(frame.size());
  }
  bool is_ring() const override { return false; }
  Status may_speak_as(const Identity& who) const { return stream_ ? stream_->may_speak_as(who) : Status(); }
  /// Returns whether the peer may be told anything. Before the TLS handshake is done it is not.
  bool is_open() const { return !stream_ || shaken_; }
  bool over_unix() const { return stream_ == nullptr; }
  Descriptor take_socket() { return std::move(unix_); }
  std::unique_ptr<Stream> take_stream() { return std::move(stream_); }
  std::vector<Descriptor> take_descriptors() { return std::move(descriptors_); }

 private:
  int fd() const { return stream_ ? stream_->fd() : unix_.get(); }
  Result<bool> read_up_to(std::size_t size);
  Descriptor unix_;
  std::unique_ptr<Stream> stream_;
  bool readable_ = true, shaken_ = false;
  Time since_;
  std::string from_;  // after the sockets
  std::vector<std::byte> bytes_;
  std::vector<Descriptor> descriptors_;
};

// Returns true when bytes_ has `size` bytes. On the Unix socket the one message comes whole.
Result<bool> Greeting::read_up_to(std::size_t size) {
  while (bytes_.size() < size) {
    std::byte buffer[kHeaderBytes + kHelloBytesMax];
    long n = 0;
    if (over_unix()) n = receive_with_descriptors(fd(), buffer, descriptors_);
    else n = stream_->read(Bytes(buffer).first(size - bytes_.size()));
    if (n == -EINTR) continue;
    if (n == -EAGAIN) {
      readable_ = false;
      return false;
    }
    if (n == -EPROTO && over_unix()) return corrupt("a hello with too many bytes or descriptors");
    if (n <= 0) return peer_lost("a connection closed before its hello");
    bytes_.insert(bytes_.end(), buffer, buffer + n);
  }
  return true;
}

Result<std::optional<Hello>> Greeting::read() {
  if (stream_ && !shaken_) {
    COHAUL_ASSIGN(shaken_, stream_->handshake());
    readable_ = shaken_;
    if (!shaken_) return std::optional<Hello>{};
  }
  COHAUL_ASSIGN(bool complete, read_up_to(kHeaderBytes));
  if (!complete) return std::optional<Hello>{};
  COHAUL_ASSIGN(Header header, decode_header(bytes_));
  if (header.type != FrameType::hello || header.body_length > kHelloBytesMax)
    return corrupt("the first frame is no hello");
  COHAUL_ASSIGN(complete, read_up_to(kHeaderBytes + header.body_length));
  if (!complete) return std::optional<Hello>{};
  COHAUL_ASSIGN(Hello hello, decode_hello(header, ConstBytes(bytes_).subspan(kHeaderBytes)));
  return std::optional<Hello>(std::move(hello));
}

class RealEndpoint final : public Endpoint, public Watched {
 public:
  RealEndpoint(RealPoller& poller, Identity self) : poller_(poller), self_(std::move(self)) {}
  ~RealEndpoint() override { poller_.leave(*this); }

  Status open(const Listening& where);
  Result<std::unique_ptr<Channel>> accept() override;
  const Address& address() const override { return address_; }
  std::string last_refusal() const override { return last_refusal_; }

  Status attach(RealPoller& poller) override;
  void detach(RealPoller& poller) override;
  void on_event(int, std::uint32_t) override { knocked_ = true; }
  bool ready() override {
    progress();
    return !accepted_.empty();
  }

 private:
  Status open_tcp(const Listening& where);
  Status listen_at(const std::vector<std::string>& hosts, std::uint16_t port);
  void progress();
  void greet_ready();
  void drop_late();
  void make_room(const std::string& from);
  void take_from(const Descriptor& listener, bool ring);
  Result<std::unique_ptr<Greeting>> greeting_of(Descriptor socket, bool ring, Time now) const;
  /// Goes on with a greeting. Returns true when it is over.
  bool greet(Greeting& greeting);
  Status welcome(Greeting& greeting, const Hello& hello);

  RealPoller& poller_;
  Identity self_;
  Address address_;
  std::vector<Descriptor> tcp_;  // one for each of the address's hosts
  Descriptor unix_;
  std::vector<std::unique_ptr<Greeting>> greetings_;  // oldest first
  std::vector<std::unique_ptr<Channel>> accepted_;    // oldest first
  std::string last_refusal_;
  bool knocked_ = true;
};

/// Listens at the same port of all addresses. An address that this host has not, or not yet (IPv6 first looks whether
/// another host has it), is left out where there are others.
Status RealEndpoint::listen_at(const std::vector<std::string>& hosts, std::uint16_t port) {
  tcp_.clear();
  address_.hosts.clear();
  Status left_out;
  for (const std::string& host : hosts) {
    Result<Descriptor> socket = tcp_listen(host, port);  // the first may be any, which the others get
    if (socket.ok()) {
      tcp_.push_back(std::move(*socket));
      address_.hosts.push_back(host);
    } else if (socket.status().code() == Code::invalid) {
      left_out = socket.status();
    } else {
      return socket.status();
    }
  }
  address_.port = port;
  return tcp_.empty() ? left_out : Status();
}

Status RealEndpoint::open_tcp(const Listening& where) {
  if (where.hosts.empty()) return invalid("an endpoint needs an address to listen on");
  if (where.port != 0) return listen_at(where.hosts, where.port);
  Status taken;
  if (where.ports.first == 0) {
    for (int i = 0; i < kPortTries; ++i) {
      taken = listen_at(where.hosts, 0);
      if (taken.code() != Code::unavailable) return taken;
    }
    return taken;
  }
  for (int port = where.ports.first; port <= where.ports.last; ++port) {
    taken = listen_at(where.hosts, static_cast<std::uint16_t>(port));
    if (taken.code() != Code::unavailable) return taken;
  }
  return unavailable("cannot listen on " + where.hosts.front() + ": all ports from " +
                     std::to_string(where.ports.first) + " to " + std::to_string(where.ports.last) +
                     " are taken by other programs");
}

Status RealEndpoint::open(const Listening& where) {
  COHAUL_TRY(open_tcp(where));
  std::uint64_t random[2]{};
  if (getrandom(random, sizeof random, 0) == static_cast<ssize_t>(sizeof random)) {
    const std::string name = "cohaul-" + hex_of(random[0]) + hex_of(random[1]);
    COHAUL_ASSIGN(unix_, unix_listen(name));
    address_.unix_name = name;
  }
  return poller_.watch(*this);
}

Status RealEndpoint::attach(RealPoller& poller) {
  for (const Descriptor& listener : tcp_) COHAUL_TRY(poller.watch(listener.get(), EPOLLIN, *this));
  return unix_.valid() ? poller.watch(unix_.get(), EPOLLIN, *this) : Status{};
}

void RealEndpoint::detach(RealPoller& poller) {
  for (const Descriptor& listener : tcp_) poller.unwatch(listener.get());
  if (unix_.valid()) poller.unwatch(unix_.get());
  for (auto& g : greetings_) g->detach(poller);
}

Result<std::unique_ptr<Channel>> RealEndpoint::accept() {
  knocked_ = true;
  progress();
  if (accepted_.empty()) return std::unique_ptr<Channel>();
  std::unique_ptr<Channel> first = std::move(accepted_.front());
  accepted_.erase(accepted_.begin());
  return first;
}

void RealEndpoint::progress() {
  if (std::exchange(knocked_, false)) {
    for (const Descriptor& listener : tcp_) take_from(listener, false);
    if (unix_.valid()) take_from(unix_, true);
  }
  greet_ready();
  drop_late();
}

void RealEndpoint::greet_ready() {
  std::erase_if(greetings_, [&](std::unique_ptr<Greeting>& g) {
    bool over = g->ready() && greet(*g);
    if (over) g->detach(poller_);
    return over;
  });
}

void RealEndpoint::drop_late() {
  if (greetings_.empty()) return;
  const Time now = poller_.clock().now();
  while (!greetings_.empty() && greetings_.front()->is_late(now)) {
    greetings_.front()->detach(poller_);
    greetings_.erase(greetings_.begin());
  }
}

/// Drops the oldest silent connection where there are too many, so that it keeps no other out. An honest peer that is
/// dropped in a crowd tries again.
void RealEndpoint::make_room(const std::string& from) {
  const auto is_from = [&](const std::unique_ptr<Greeting>& g) { return g->from() == from; };
  const auto is_full = [&] {
    return greetings_.size() >= kGreetingsMax ||
           std::count_if(greetings_.begin(), greetings_.end(), is_from) >= std::ptrdiff_t{kGreetingsOfPeerMax};
  };
  if (!is_full()) return;
  greet_ready();  // first serves those whose hello has come
  if (!is_full()) return;
  last_refusal_ = "too many connections from " + from + " that do not say hello";
  auto oldest = std::find_if(greetings_.begin(), greetings_.end(), is_from);
  if (oldest == greetings_.end()) oldest = greetings_.begin();
  (*oldest)->detach(poller_);
  greetings_.erase(oldest);
}

void RealEndpoint::take_from(const Descriptor& listener, bool ring) {
  for (;;) {
    int error = 0;
    Descriptor socket = accept_from(listener.get(), error);
    if (!socket.valid()) {
      if (error == EINTR || error == ECONNABORTED) continue;
      if (error != EAGAIN) {  // no descriptors left: the next look tries again
        knocked_ = true;
        last_refusal_ = system_error("accept", error).message();
      }
      return;
    }
    Result<std::unique_ptr<Greeting>> made = greeting_of(std::move(socket), ring, poller_.clock().now());
    if (!made.ok()) {
      last_refusal_ = made.status().message();
      continue;
    }
    std::unique_ptr<Greeting> greeting = std::move(*made);
    make_room(greeting->from());
    if (Status s = greeting->attach(poller_); !s.ok()) {
      last_refusal_ = s.message();
      continue;
    }
    greetings_.push_back(std::move(greeting));
  }
}

Result<std::unique_ptr<Greeting>> RealEndpoint::greeting_of(Descriptor socket, bool ring, Time now) const {
  if (ring) return std::make_unique<Greeting>(std::move(socket), now);
  COHAUL_ASSIGN(std::unique_ptr<Stream> stream, make_stream(std::move(socket), self_.credentials, Side::accepting));
  return std::make_unique<Greeting>(std::move(stream), now);
}

bool RealEndpoint::greet(Greeting& greeting) {
  auto hello = greeting.read();
  Status why = hello.status();
  if (hello.ok()) {
    if (!*hello) return false;
    why = welcome(greeting, **hello);
    if (why.ok()) return true;
  }
  last_refusal_ = why.message();
  if (greeting.is_open() && why.code() != Code::peer_lost) greeting.answer(encode_refusal(self_, why));
  return true;
}

Status RealEndpoint::welcome(Greeting& greeting, const Hello& hello) {
  COHAUL_TRY(greeting.may_speak_as(hello.who));
  COHAUL_TRY(verify(self_, hello.who));
  std::optional<RingParts> parts;
  if (greeting.over_unix()) {
    COHAUL_ASSIGN(parts, RingParts::from(greeting.take_descriptors()));
  }
  if (!greeting.answer(encode_hello(self_, FrameType::welcome, 0)))
    return peer_lost("a connection closed after its hello");
  greeting.detach(poller_);
  if (parts)
    accepted_.push_back(std::make_unique<RingChannel>(greeting.take_socket(), std::move(*parts), self_, hello.who));
  else accepted_.push_back(std::make_unique<TcpChannel>(greeting.take_stream(), self_, hello.who));
  return {};
}

}  // namespace

Result<std::unique_ptr<Endpoint>> listen(Poller& poller, const Identity& self, const std::string& host,
                                         std::uint16_t port) {
  return listen(poller, self, {.hosts = {host}, .port = port});
}

Result<std::unique_ptr<Endpoint>> listen(Poller& poller, const Identity& self, const Listening& where) {
  auto* real = dynamic_cast<RealPoller*>(&poller);
  if (real == nullptr) return invalid("an endpoint needs the real poller; a simulated network makes its own channels");
  auto endpoint = std::make_unique<RealEndpoint>(*real, self);
  COHAUL_TRY(endpoint->open(where));
  return std::unique_ptr<Endpoint>(std::move(endpoint));
}

}  // namespace cohaul::transport
