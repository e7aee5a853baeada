#include "cohaul/transport/ring.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "cohaul/base/align.h"

namespace cohaul::transport {
namespace {

// A gap at the front of the area is used again as soon as it is this long, so that little memory is touched; the top grows by this much.
constexpr std::uint64_t kFrontGapMin = 64 << 10;
constexpr std::uint64_t kTopGap = 256 << 10;

}  // namespace

void ring_bell(int fd) {
  std::uint64_t one = 1;
  [[maybe_unused]] ssize_t n = write(fd, &one, sizeof one);
}

RingWriter::RingWriter(const Arena& ring, int peer_bell)
    : memory_(*ring.windows()),
      control_(reinterpret_cast<RingControl*>(ring.bytes().data())),
      index_(reinterpret_cast<std::uint64_t*>(ring.bytes().data() + kRingIndexAt)),
      peer_bell_(peer_bell) {}

// A gap only grows while frames come back, so its bounds hold until it is used up.
bool RingWriter::allocate(std::uint64_t bytes, std::uint64_t& at) {
  if (entries_.empty()) cursor_ = bound_ = 0;
  if (bytes > bound_ - cursor_ && !choose_gap(bytes)) return false;
  at = cursor_;
  cursor_ += bytes;
  return true;
}

// Chooses a gap below or above all frames that are out. A frame that is held for long costs the room beside it, but
// never causes a deadlock.
bool RingWriter::choose_gap(std::uint64_t bytes) {
  std::uint64_t lowest = memory_.size(), highest = kRingAreaAt;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    lowest = std::min(lowest, entries_[i].begin);
    highest = std::max(highest, entries_[i].end);
  }
  const auto below = memory_.find_place(kRingAreaAt, lowest, bytes);
  const auto above = memory_.find_place(highest, memory_.size(), bytes);
  if (below && (lowest >= kRingAreaAt + kFrontGapMin || !above)) {
    cursor_ = *below;
    bound_ = std::min(lowest, memory_.end_of(cursor_));
  } else if (above) {
    cursor_ = *above;
    bound_ = memory_.end_of(cursor_);
  } else {
    return false;
  }
  bound_ = std::min(bound_, cursor_ + std::max(bytes, kTopGap));
  return true;
}

Status RingWriter::put(Header& header, ConstBytes body, ConstBytes payload, std::shared_ptr<const void> keep) {
  COHAUL_TRY(reclaim().status());
  std::uint64_t payload_at = aligned(kHeaderBytes + body.size()), at = 0;
  const std::uint64_t bytes = payload_at + aligned(payload.size());
  if (entries_.size() >= kQueueFramesMax || !allocate(bytes, at)) {
    if (entries_.empty())
      return system_error(
          "a frame of " + std::to_string(bytes) + " bytes in a ring of " + std::to_string(memory_.size()), EFBIG);
    wants_place_ = true;
    return unavailable("the ring is full of frames that the peer has not given back");
  }
  wants_place_ = false;
  COHAUL_ASSIGN(const Bytes place, memory_.at(at, bytes));
  header.sequence = head_;
  seal(header);
  std::memcpy(place.data(), &header, kHeaderBytes);
  if (!body.empty()) std::memcpy(place.data() + kHeaderBytes, body.data(), body.size());
  if (!payload.empty()) std::memcpy(place.data() + payload_at, payload.data(), payload.size());
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

RingReader::RingReader(const Arena& ring, int peer_bell)
    : memory_(*ring.windows()),
      control_(reinterpret_cast<RingControl*>(ring.bytes().data())),
      index_(reinterpret_cast<const std::uint64_t*>(ring.bytes().data() + kRingIndexAt)),
      peer_bell_(peer_bell),
      given_back_(kQueueFramesMax) {}

Result<RingReader::Found> RingReader::next() {
  std::uint64_t head = control_->head.load(std::memory_order_acquire);
  if (head - tail_ > kQueueFramesMax || head - tail_ < read_ - tail_) return corrupt("the ring's head makes no sense");
  // One load: the peer could change it between a check and a second one.
  std::uint64_t at = __atomic_load_n(&index_[read_ % kQueueFramesMax], __ATOMIC_RELAXED);
  if (at % 64 != 0 || at < kRingAreaAt) return corrupt("a frame's place is out of the ring's bounds");
  COHAUL_ASSIGN(const ConstBytes head_bytes, memory_.at(at, kHeaderBytes).context("a frame's place"));
  COHAUL_ASSIGN(Header h, decode_header(head_bytes));
  if (h.type != FrameType::data) return corrupt("a frame of a type that does not belong here");
  if (h.sequence != read_) {
    return corrupt("frame " + std::to_string(read_) + " is missing: got " + std::to_string(h.sequence));
  }
  std::uint64_t payload_at = aligned(kHeaderBytes + h.body_length), payload = h.by_address() ? 0 : h.payload_length;
  COHAUL_ASSIGN(const ConstBytes frame, memory_.at(at, payload_at + payload).context("a frame"));
  ++read_;
  return Found{h, frame.subspan(kHeaderBytes, h.body_length), frame.subspan(payload_at)};
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
