#pragma once
// The form of a channel for two processes of one host: frames in a ring (ring.h). The Unix socket beside it hands
// over arenas; when it closes, the peer has died.

#include <deque>
#include <memory>
#include <vector>

#include "cohaul/transport/descriptor.h"
#include "cohaul/transport/real_poller.h"
#include "cohaul/transport/ring.h"

namespace cohaul::transport {

/// What connects the two sides, handed over in the hello.
struct RingParts {
  Arena to_server, to_client;  // a ring each, mapped for writing
  Descriptor client_bell, server_bell;
  bool client = false;  // which side we are

  /// Makes them at the client.
  static Result<RingParts> make();
  /// Takes them at the server: the two rings, client's bell, server's bell. corrupt if they are not what they should
  /// be.
  static Result<RingParts> from(std::vector<Descriptor> descriptors);
  std::vector<int> descriptors() const {
    return {to_server.fd(), to_client.fd(), client_bell.get(), server_bell.get()};
  }
};

class RingChannel final : public Channel, public Watched {
 public:
  RingChannel(Descriptor socket, RingParts parts, Identity self, Identity peer);
  ~RingChannel() override;

  Status send(const Message& message) override;
  Result<std::optional<Frame>> receive() override;
  Result<bool> flush() override;
  Status lend(const Arena& arena) override;
  void set_place(Place) override {}
  const Identity& peer() const override { return peer_; }
  bool shares_memory() const override { return true; }
  std::uint64_t payload_bytes_sent() const override { return payload_bytes_sent_; }

  Status attach(RealPoller& poller) override;
  void detach(RealPoller& poller) override;
  void on_event(int fd, std::uint32_t events) override;
  bool ready() override;
  bool is_ring() const override { return true; }
  bool peek() override;
  void before_sleep() override;
  void after_sleep() override;

 private:
  struct Inbox;
  struct Held;
  struct Lent {
    ArenaId id;
    std::shared_ptr<const Windows> windows;
  };
  Region find_lent(ConstBytes payload) const;
  /// Reads what came over the socket: lent arenas, and the end.
  void read_socket();
  void take_lent(ConstBytes message, std::vector<Descriptor> descriptors);
  Result<Frame> next_frame();
  Result<ConstBytes> resolve(const Region& region);
  void fail(Status why);

  Descriptor socket_;
  Identity self_, peer_;
  Inbox* inbox_;  // lives until channel and last frame are gone
  RingWriter writer_;
  std::vector<Lent> lent_;
  std::uint64_t payload_bytes_sent_ = 0;
  Status lost_;    // the peer is gone: nothing can be sent; frames in the ring are still received
  Status failed_;  // what receive() returns from now on
  bool told_ = false, attached_ = false, socket_event_ = true;
  int empty_looks_ = 0;
};

}  // namespace cohaul::transport
