#pragma once
// The ring: frames in shared memory, one writer, one reader. A connection has two of them, each in an arena of its own.
//
//   one ring, kRingBytes long, mapped in windows that begin with kRingWindowBytes
//        0   RingControl
//     4096   index: kQueueFramesMax u64; entry n mod kQueueFramesMax is where frame n lies in the ring (a multiple of 64)
//   +32768   area: memory only where frames have been, address space only for windows of which one had frames
//   one frame in the area, in one window: header, body, zeros up to a multiple of 64, payload (none if it travels as an address)
//
// Frames are numbered from 0. The writer owns `head` (frames put in), the reader `tail` (every frame before it has been given back);
// 0 <= head - tail <= kQueueFramesMax. Neither side trusts the other: values are copied out, then checked.
// Bells: a side that is about to sleep sets its flag, then looks again. A side that changes head or tail looks at the other's flag
// afterwards, and writes the other's eventfd if it was set. These accesses are sequentially consistent, so one of the two sees the other.

#include <atomic>
#include <cstdint>
#include <memory>

#include "cohaul/transport/arena.h"
#include "cohaul/transport/fifo.h"
#include "cohaul/transport/wire.h"

namespace cohaul::transport {

struct RingControl {
  alignas(64) std::atomic<std::uint64_t> head;
  std::atomic<std::uint32_t> reader_asleep;
  alignas(64) std::atomic<std::uint64_t> tail;
  std::atomic<std::uint32_t> writer_asleep;
};
static_assert(sizeof(RingControl) == 128 && std::atomic<std::uint64_t>::is_always_lock_free);

constexpr std::size_t kRingIndexAt = 4096;
constexpr std::size_t kRingAreaAt = kRingIndexAt + kQueueFramesMax * sizeof(std::uint64_t);
constexpr std::size_t kRingWindowBytes = 1 << 20;
// The last window is half of the ring, so it holds the largest frame.
constexpr std::size_t kRingBytes = 4 * kPayloadBytesMax;
static_assert(kRingAreaAt < kRingWindowBytes && kRingBytes / 2 >= kPayloadBytesMax + (1 << 20));

/// Makes the memory of one ring.
inline Result<Arena> make_ring() { return Arena::create_in_windows("ring", kRingBytes, kRingWindowBytes); }

/// Writes one eventfd.
void ring_bell(int fd);

/// The writer's side. It allocates only to grow.
class RingWriter {
 public:
  /// `ring` outlives it.
  RingWriter(const Arena& ring, int peer_bell);
  /// Puts one frame in, and sets sequence and checksum of `header`. payload: the bytes that travel, empty if an
  /// address does. keep: dropped when the frame comes back. Errors: unavailable (no place now), corrupt (the peer's
  /// numbers make no sense), internal (a limit of the system leaves it no memory).
  Status put(Header& header, ConstBytes body, ConstBytes payload, std::shared_ptr<const void> keep);
  /// Takes back what the peer has given back. Returns true when that dropped a keep, or made the place that put()
  /// missed.
  Result<bool> reclaim();
  /// Returns whether the writer's poller should be woken when frames come back.
  bool waits() const { return wants_place_ || keeps_ > 0; }
  RingControl& control() { return *control_; }
  /// The peer is gone: drops all keeps.
  void abandon();

 private:
  struct Entry {
    std::uint64_t begin = 0, end = 0;
    std::shared_ptr<const void> keep;
  };
  bool allocate(std::uint64_t bytes, std::uint64_t& at);
  bool choose_gap(std::uint64_t bytes);

  Windows& memory_;
  RingControl* control_;
  std::uint64_t* index_;
  int peer_bell_;
  std::uint64_t head_ = 0, tail_ = 0;
  std::uint64_t cursor_ = 0, bound_ = 0;  // [cursor_, bound_) of the ring is free, and the next frames go there
  Fifo<Entry> entries_;                   // frames tail_ ... head_ - 1
  std::size_t keeps_ = 0;
  bool wants_place_ = false;
};

/// The reader's side: finds the next frame, and gives frames back in any order.
class RingReader {
 public:
  RingReader(const Arena& ring, int peer_bell);
  bool has_next() const { return control_->head.load(std::memory_order_acquire) != read_; }
  /// The same, for a caller that has set reader_asleep. A load that only acquires may be done before that store, and
  /// so miss both the frame and the bell.
  bool has_next_before_sleep() const { return control_->head.load(std::memory_order_seq_cst) != read_; }
  struct Found {
    Header header;
    ConstBytes body, payload;  // in the ring; payload empty if by address
  };
  /// Call when has_next(). Copies the header out and checks it and where it points. Errors: corrupt.
  Result<Found> next();
  /// Gives frame `n` (its sequence) back to the writer.
  void give_back(std::uint64_t n);
  RingControl& control() { return *control_; }

 private:
  Windows& memory_;
  RingControl* control_;
  const std::uint64_t* index_;
  int peer_bell_;
  std::uint64_t read_ = 0, tail_ = 0;
  std::vector<bool> given_back_;  // frames tail_ ... read_ - 1, by n mod kQueueFramesMax
};

}  // namespace cohaul::transport
