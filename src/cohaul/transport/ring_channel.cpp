#include "cohaul/transport/ring_channel.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstring>

#include "cohaul/transport/socket.h"

namespace cohaul::transport {
namespace {

// Where no poller tells of the socket, receive() looks at it once in so many times that it finds the ring empty.
constexpr int kEmptyLooksMax = 256;

const Arena& ring_of(const RingParts& parts, bool incoming) {
  return parts.client != incoming ? parts.to_server : parts.to_client;
}

/// Takes the descriptor. corrupt: it is not one of a ring.
Result<Arena> map_ring(Descriptor& descriptor) {
  COHAUL_ASSIGN(Arena ring, Arena::map(1, descriptor.take(), Access::write, kRingWindowBytes));
  if (!ring.windows() || ring.bytes().size() <= kRingAreaAt) return corrupt("a ring of a wrong size");
  return ring;
}

}  // namespace

Result<RingParts> RingParts::make() {
  RingParts parts;
  COHAUL_ASSIGN(parts.to_server, make_ring());
  COHAUL_ASSIGN(parts.to_client, make_ring());
  parts.client_bell = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  parts.server_bell = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!parts.client_bell.valid() || !parts.server_bell.valid()) return system_error("eventfd", errno);
  parts.client = true;
  return parts;
}

Result<RingParts> RingParts::from(std::vector<Descriptor> descriptors) {
  if (descriptors.size() != 4) return corrupt("a ring's hello came without its four descriptors");
  RingParts parts;
  COHAUL_ASSIGN(parts.to_server, map_ring(descriptors[0]));
  COHAUL_ASSIGN(parts.to_client, map_ring(descriptors[1]));
  parts.client_bell = std::move(descriptors[2]);
  parts.server_bell = std::move(descriptors[3]);
  return parts;
}

/// Holds a frame that is out. Its slot is used again.
struct RingChannel::Held final : Frame::Hold {
  void release() override;
  Inbox* inbox = nullptr;
  std::uint64_t sequence = 0;
  Held* next = nullptr;
};

/// Owns all memory that frames point into.
struct RingChannel::Inbox {
  explicit Inbox(RingParts p) : parts(std::move(p)), reader(ring_of(parts, true), peer_bell()) {
    parts.to_server.close_descriptor();  // the peer has its own
    parts.to_client.close_descriptor();
  }
  int peer_bell() const { return (parts.client ? parts.server_bell : parts.client_bell).get(); }
  int own_bell() const { return (parts.client ? parts.client_bell : parts.server_bell).get(); }
  Held* hold(std::uint64_t sequence) {
    if (free == nullptr) {
      free = &held.emplace_back();
      free->inbox = this;
    }
    Held* h = std::exchange(free, free->next);
    h->sequence = sequence;
    ++out;
    return h;
  }

  RingParts parts;
  RingReader reader;
  std::vector<Arena> arenas;  // lent by the peer
  std::deque<Held> held;
  Held* free = nullptr;
  std::size_t out = 0;
  bool channel_gone = false;
};

void RingChannel::Held::release() {
  Inbox* in = inbox;
  in->reader.give_back(sequence);
  next = in->free;
  in->free = this;
  if (--in->out == 0 && in->channel_gone) delete in;
}

RingChannel::RingChannel(Descriptor socket, RingParts parts, Identity self, Identity peer)
    : socket_(std::move(socket)),
      self_(std::move(self)),
      peer_(std::move(peer)),
      inbox_(new Inbox(std::move(parts))),
      writer_(ring_of(inbox_->parts, false), inbox_->peer_bell()) {}

RingChannel::~RingChannel() {
  inbox_->channel_gone = true;
  if (inbox_->out == 0) delete inbox_;
}

Status RingChannel::attach(RealPoller& poller) {
  COHAUL_TRY(poller.watch(socket_.get(), EPOLLIN | EPOLLRDHUP, *this));
  if (Status s = poller.watch(inbox_->own_bell(), EPOLLIN, *this); !s.ok()) {
    poller.unwatch(socket_.get());
    return s;
  }
  attached_ = true;
  return {};
}

void RingChannel::detach(RealPoller& poller) {
  poller.unwatch(socket_.get());
  poller.unwatch(inbox_->own_bell());
  attached_ = false;
}

void RingChannel::on_event(int fd, std::uint32_t) {
  if (fd == socket_.get()) socket_event_ = true;
}

bool RingChannel::peek() { return inbox_->reader.has_next() && failed_.ok(); }

bool RingChannel::ready() {
  if (socket_event_ && lost_.ok()) read_socket();
  auto came_back = writer_.reclaim();
  if (!came_back.ok() && failed_.ok()) fail(came_back.status());
  bool tells = !failed_.ok() || !lost_.ok() || inbox_->reader.has_next_before_sleep();
  return (tells && !told_) || (came_back.ok() && *came_back);
}

void RingChannel::before_sleep() {
  inbox_->reader.control().reader_asleep.store(1);
  if (writer_.waits()) writer_.control().writer_asleep.store(1);
}

void RingChannel::after_sleep() {
  inbox_->reader.control().reader_asleep.store(0);
  writer_.control().writer_asleep.store(0);
}

Region RingChannel::find_lent(ConstBytes payload) const {
  for (const Lent& l : lent_)
    if (const auto offset = l.windows->offset_of(payload)) return {l.id, *offset, payload.size()};
  return {};
}

Status RingChannel::send(const Message& message) {
  COHAUL_TRY(check_message(message));
  if (!failed_.ok()) return failed_;
  if (!lost_.ok()) return lost_;
  Header h = header_from(self_, FrameType::data);
  h.kind = message.kind;
  h.clock = message.clock;
  h.key = message.key;
  h.body_length = static_cast<std::uint32_t>(message.body.size());
  h.payload_length = message.payload.size();
  Region region = message.payload.empty() ? Region{} : find_lent(message.payload);
  Status put;
  if (region.arena != kNoArena) {
    h.flags = kPayloadByAddress;
    h.payload_arena = region.arena;
    h.payload_offset = region.offset;
    put = writer_.put(h, message.body, {}, message.keep);
  } else {
    put = writer_.put(h, message.body, message.payload, nullptr);
    if (put.ok()) payload_bytes_sent_ += message.payload.size();
  }
  if (put.ok()) return put;
  if (put.code() == Code::unavailable) {
    if (++empty_looks_ >= kEmptyLooksMax || socket_event_) read_socket();
    if (!lost_.ok()) return lost_;
    return put.context(describe(peer_));
  }
  fail(put);
  return failed_;
}

Result<bool> RingChannel::flush() {
  auto came_back = writer_.reclaim();
  if (!came_back.ok() && failed_.ok()) fail(came_back.status());
  if (!failed_.ok() && failed_.code() != Code::peer_lost) return failed_;
  return true;  // all that was sent is in the ring, also where the peer has gone since
}

Status RingChannel::lend(const Arena& arena) {
  if (!lost_.ok()) return lost_;
  for (const Lent& l : lent_) {
    if (l.id == arena.id()) return {};
  }
  Header h = header_from(self_, FrameType::lend);
  h.payload_arena = arena.id();
  h.key = arena.bytes().size();  // its first window
  seal(h);
  int fd = arena.fd();
  long n = send_with_descriptors(socket_.get(), as_bytes(std::span<const Header>(&h, 1)), {&fd, 1});
  if (n == -EAGAIN) return unavailable(describe(peer_) + " has not taken the arenas lent before; retry");
  if (n == -EPIPE || n == -ECONNRESET) {
    read_socket();
    return lost_.ok() ? peer_lost(describe(peer_) + ": connection closed") : lost_;
  }
  if (n < 0) return system_error("lend an arena to " + describe(peer_), static_cast<int>(-n));
  if (arena.windows()) lent_.push_back({arena.id(), arena.windows()});
  return {};
}

void RingChannel::read_socket() {
  socket_event_ = false;
  empty_looks_ = 0;
  bool reset = false;
  while (failed_.ok()) {
    std::byte buffer[kHeaderBytes];
    std::vector<Descriptor> descriptors;
    long n = receive_with_descriptors(socket_.get(), buffer, descriptors);
    if (n == -EINTR) continue;
    if (n == -EAGAIN && !reset) return;
    if (n == -ECONNRESET && !reset) {
      reset = true;  // it died with messages of ours unread; its own may still be here
      continue;
    }
    if (n <= 0 && n != -EPROTO) {
      lost_ = peer_lost(describe(peer_) + ": connection closed");
      writer_.abandon();
      return;
    }
    if (n < 0) return fail(corrupt("a message on the Unix socket of a wrong size"));
    take_lent(ConstBytes(buffer, static_cast<std::size_t>(n)), std::move(descriptors));
  }
}

void RingChannel::take_lent(ConstBytes message, std::vector<Descriptor> descriptors) {
  auto header = decode_header(message);
  if (!header.ok()) return fail(header.status());
  if (Status s = check_sender(*header, peer_); !s.ok()) return fail(s);
  if (header->type != FrameType::lend || descriptors.size() != 1)
    return fail(corrupt("a message on the Unix socket that lends nothing"));
  auto arena = Arena::map(header->payload_arena, descriptors[0].take(), Access::read, header->key);
  if (!arena.ok()) return fail(arena.status());
  arena->close_descriptor();  // this process does not lend it on
  inbox_->arenas.push_back(std::move(*arena));
}

Result<ConstBytes> RingChannel::resolve(const Region& region) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    for (const Arena& a : inbox_->arenas) {
      if (a.id() == region.arena) return a.resolve(region);
    }
    if (attempt == 0 && lost_.ok()) read_socket();  // it was lent before the frame was sent
    if (!failed_.ok()) return failed_;
  }
  return corrupt("an address in an arena that was not lent");
}

Result<Frame> RingChannel::next_frame() {
  COHAUL_ASSIGN(RingReader::Found found, inbox_->reader.next());
  const Header& h = found.header;
  Frame frame(inbox_->hold(h.sequence));
  COHAUL_TRY(check_sender(h, peer_));
  frame.kind = h.kind;
  frame.clock = h.clock;
  frame.key = h.key;
  frame.body = found.body;
  frame.payload = found.payload;
  frame.by_address = h.by_address();
  if (frame.by_address) {
    COHAUL_ASSIGN(frame.payload, resolve(h.region()));
  }
  return frame;
}

Result<std::optional<Frame>> RingChannel::receive() {
  if (!failed_.ok()) {
    told_ = true;
    return failed_;
  }
  if (!inbox_->reader.has_next()) {
    if (lost_.ok() && (socket_event_ || (!attached_ && ++empty_looks_ >= kEmptyLooksMax))) read_socket();
    if (lost_.ok() && failed_.ok()) return std::optional<Frame>{};
    // The peer may have put a frame in just before it went.
    if (failed_.ok() && !inbox_->reader.has_next()) failed_ = lost_;
    if (!failed_.ok()) {
      told_ = true;
      return failed_;
    }
  }
  Result<Frame> frame = next_frame();
  if (!frame.ok()) {
    if (failed_.ok()) fail(frame.status());
    told_ = true;
    return failed_;
  }
  return std::optional<Frame>(std::move(*frame));
}

void RingChannel::fail(Status why) { failed_ = why.context(describe(peer_)); }

}  // namespace cohaul::transport
