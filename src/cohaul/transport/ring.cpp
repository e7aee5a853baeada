#include "cohaul/transport/ring.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace cohaul::transport {
namespace {

// A gap at the front of the area is used again as soon as it is this long, so that little memory is touched; the top grows by this much.
constexpr std::uint64_t kFrontGapMin = 64 << 10;
constexpr std::uint64_t kTopGap = 256 << 10;

constexpr std::uint64_t aligned(std::uint64_t n) { return (n + 63) & ~std::uint64_t{63}; }

}  // namespace

void ring_bell(int fd) {
  std::uint64_t one = 1;
  [[maybe_unused]] ssize_t n = write(fd, &one, sizeof one);
}

RingWriter::RingWriter(Bytes ring, int peer_bell)
    : control_(reinterpret_cast<RingControl*>(ring.data())),
      index_(reinterpret_cast<std::uint64_t*>(ring.data() + kRingIndexAt)),
      area_(ring.data() + kRingAreaAt),
      peer_bell_(peer_bell) {}

// A gap only grows while frames come back, so its bounds hold until it is used up.
bool RingWriter::allocate(std::uint64_t bytes, std::uint64_t& at) {
  if (entries_.empty()) {
    cursor_ = 0;
    bound_ = std::max(bytes, kTopGap);
  }
  if (bytes > bound_ - cursor_ && !choose_gap(bytes)) return false;
  at = cursor_;
  cursor_ += bytes;
  return true;
}

// Below or above all frames that are out. One that is held for long costs the room between, never a deadlock.
bool RingWriter::choose_gap(std::uint64_t bytes) {
  std::uint64_t lowest = kRingAreaBytes, highest = 0;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    lowest = std::min(lowest, entries_[i].begin);
    highest = std::max(highest, entries_[i].end);
  }
  bool top_fits = bytes <= kRingAreaBytes - highest;
  if (lowest >= bytes && (lowest >= kFrontGapMin || !top_fits)) {
    cursor_ = 0;
    bound_ = lowest;
    return true;
  }
  if (!top_fits) return false;
  cursor_ = highest;
  bound_ = std::min(kRingAreaBytes, highest + std::max(bytes, kTopGap));
  return true;
}

Status RingWriter::put(Header& header, ConstBytes body, ConstBytes payload, std::shared_ptr<const void> keep) {
  COHAUL_TRY(reclaim().status());
  std::uint64_t payload_at = aligned(kHeaderBytes + body.size()), at = 0;
  if (entries_.size() >= kQueueFramesMax || !allocate(payload_at + aligned(payload.size()), at)) {
    wants_place_ = true;
    return unavailable("the ring is full of frames that the peer has not given back");
  }
  wants_place_ = false;
  header.sequence = head_;
  seal(header);
  std::memcpy(area_ + at, &header, kHeaderBytes);
  if (!body.empty()) std::memcpy(area_ + at + kHeaderBytes, body.data(), body.size());
  if (!payload.empty()) std::memcpy(area_ + at + payload_at, payload.data(), payload.size());
  Entry& entry = entries_.push();
  entry.begin = at;
  entry.end = cursor_;
  entry.keep = std::move(keep);
  if (entry.keep) ++keeps_;
  index_[head_ % kQueueFramesMax] = at;
  control_->head.store(++head_);
  if (control_->reader_asleep.load() != 0 && control_->reader_asleep.exchange(0) != 0) ring_bell(peer_bell_);
  return {};
}

Result<bool> RingWriter::reclaim() {
  std::uint64_t tail = control_->tail.load();
  if (tail == tail_) return false;
  if (tail - tail_ > entries_.size()) return corrupt("the peer gave back frames that it never got");
  bool told = wants_place_;
  wants_place_ = false;
  for (; tail_ != tail; ++tail_) {
    Entry& entry = entries_.front();
    if (entry.keep) {
      told = true;
      --keeps_;
      entry.keep.reset();
    }
    entries_.pop();
  }
  return told;
}

void RingWriter::abandon() {
  for (std::size_t i = 0; i < entries_.size(); ++i) entries_[i].keep.reset();
  keeps_ = 0;
  wants_place_ = false;
}

RingReader::RingReader(Bytes ring, int peer_bell)
    : control_(reinterpret_cast<RingControl*>(ring.data())),
      index_(reinterpret_cast<const std::uint64_t*>(ring.data() + kRingIndexAt)),
      area_(ring.data() + kRingAreaAt),
      peer_bell_(peer_bell),
      given_back_(kQueueFramesMax) {}

Result<RingReader::Found> RingReader::next() {
  std::uint64_t head = control_->head.load(std::memory_order_acquire);
  if (head - tail_ > kQueueFramesMax || head - tail_ < read_ - tail_) return corrupt("the ring's head makes no sense");
  // One load: the peer could change it between a check and a second one.
  std::uint64_t at = __atomic_load_n(&index_[read_ % kQueueFramesMax], __ATOMIC_RELAXED);
  if (at % 64 != 0 || at > kRingAreaBytes - kHeaderBytes) return corrupt("a frame's place is out of the ring's bounds");
  COHAUL_ASSIGN(Header h, decode_header(ConstBytes(area_ + at, kHeaderBytes)));
  if (h.type != FrameType::data) return corrupt("a frame of a type that does not belong here");
  if (h.sequence != read_) {
    return corrupt("frame " + std::to_string(read_) + " is missing: got " + std::to_string(h.sequence));
  }
  std::uint64_t payload_at = aligned(kHeaderBytes + h.body_length), payload = h.by_address() ? 0 : h.payload_length;
  if (payload_at > kRingAreaBytes - at || payload > kRingAreaBytes - at - payload_at) {
    return corrupt("a frame reaches out of the ring's bounds");
  }
  ++read_;
  return Found{h, {area_ + at + kHeaderBytes, h.body_length}, {area_ + at + payload_at, payload}};
}

void RingReader::give_back(std::uint64_t n) {
  given_back_[n % kQueueFramesMax] = true;
  if (n != tail_) return;
  while (tail_ != read_ && given_back_[tail_ % kQueueFramesMax]) {
    given_back_[tail_ % kQueueFramesMax] = false;
    ++tail_;
  }
  control_->tail.store(tail_);
  if (control_->writer_asleep.load() != 0 && control_->writer_asleep.exchange(0) != 0) ring_bell(peer_bell_);
}

}  // namespace cohaul::transport
