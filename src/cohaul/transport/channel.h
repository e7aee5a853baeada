#pragma once
// Channel: frames to and from one peer, in order, never blocking. The same interface over a ring in shared memory (same
// host), TCP, and the simulated network. A frame is a small body (encoded values) and at most one payload (a span of
// gradients or parameters). A payload that lies in an arena lent to the peer travels as an address; any other as bytes.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "cohaul/base/bytes.h"
#include "cohaul/base/ids.h"
#include "cohaul/base/limits.h"
#include "cohaul/base/status.h"
#include "cohaul/transport/arena.h"
#include "cohaul/transport/credentials.h"
#include "cohaul/transport/options.h"

namespace cohaul::transport {

/// Names a process to its peer. Both ends exchange it in the hello and check it before any other frame. Another
/// version, job, generation or model is refused.
struct Identity {
  std::uint64_t job = 0;    // id of the job
  std::uint64_t token = 0;  // its secret: a peer that does not know it is refused
  Generation generation;
  Role role = Role::worker;
  std::int32_t rank = 0;
  Incarnation incarnation;
  std::uint64_t model = 0;    // Layout::hash(); 0 = not known yet, matches any
  Credentials credentials{};  // with them TCP connections are encrypted (TLS), and a peer without them is refused
  std::string purpose;        // which conversation this channel is for ("control", "group", "ps"); at most 64 bytes
};
/// "worker 3", "server 0", "the launcher"
std::string describe(const Identity& who);

/// A frame to be sent. Spans are read during send() but for the payload: see keep.
struct Message {
  std::uint16_t kind = 0;  // meaning is the conversation's
  std::int64_t clock = 0;  // step, worker clock or sequence: the conversation's
  std::uint64_t key = 0;   // partition, bucket, …: the conversation's
  ConstBytes body{};       // at most kBodyBytesMax; copied
  ConstBytes payload{};    // not copied where it travels as an address
  /// The payload must stay unchanged until the channel drops this: when its bytes are written (TCP), or when the peer
  /// has released the frame (address). Null: the caller keeps the payload unchanged, and knows by other means until
  /// when.
  std::shared_ptr<const void> keep{};
};

class Channel;

/// A received frame. Move-only. Body and payload are readable until it is destroyed or release()d; frames may be
/// released in any order. A frame may outlive its channel (the memory stays mapped), on the same thread.
class Frame {
 public:
  std::uint16_t kind = 0;
  std::int64_t clock = 0;
  std::uint64_t key = 0;
  ConstBytes body;
  ConstBytes payload;       // aligned to 64 bytes when it came as bytes; as the sender's span when as an address
  bool by_address = false;  // payload lies in the sender's memory

  Frame() = default;
  Frame(Frame&&) noexcept = default;
  Frame& operator=(Frame&&) noexcept = default;
  void release() { hold_.reset(); }

  /// For channels: something whose destruction gives the frame's memory back.
  struct Hold {
    virtual ~Hold() = default;
    virtual void release() = 0;  // called once; must not free the Hold itself unless it owns itself
  };
  struct HoldRelease {
    void operator()(Hold* h) const { h->release(); }
  };
  explicit Frame(Hold* hold) : hold_(hold) {}

 private:
  std::unique_ptr<Hold, HoldRelease> hold_;
};

/// One thread owns a channel. Nothing blocks. Errors are sticky: peer_lost (closed, reset, refused; names the peer),
/// corrupt (checksum, bounds, an unexpected version, job, generation or incarnation).
class Channel {
 public:
  virtual ~Channel() = default;  // closes; does not flush

  /// Queues a frame; writes what goes at once. unavailable: the queue (kQueueFramesMax frames) is full: receive, flush, retry.
  virtual Status send(const Message& message) = 0;
  /// Returns the next frame, if one has come. Frames that came before the peer closed are still delivered first.
  virtual Result<std::optional<Frame>> receive() = 0;
  /// Writes what the peer takes now. Returns true when nothing is left queued, also where the peer has gone since.
  virtual Result<bool> flush() = 0;
  /// Lets payloads inside `arena` travel as addresses from now on, if this channel can do that (else no effect). The
  /// arena must outlive the channel.
  virtual Status lend(const Arena& arena) = 0;
  /// Says where TCP should put a payload as it comes in: (kind, clock, key, length) → a span of that length, or empty
  /// for the channel's own buffer. The place must stay valid until the frame has been received. No effect where
  /// addresses travel.
  using Place = std::function<Bytes(std::uint16_t kind, std::int64_t clock, std::uint64_t key, std::uint64_t length)>;
  virtual void set_place(Place place) = 0;

  virtual const Identity& peer() const = 0;
  /// Returns whether payloads in lent arenas travel as addresses.
  virtual bool shares_memory() const = 0;
  /// Returns how many bytes of payload have been sent as bytes so far (what the network carried).
  virtual std::uint64_t payload_bytes_sent() const = 0;
};

}  // namespace cohaul::transport
