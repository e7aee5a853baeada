#include "cohaul/transport/tcp_channel.h"

#include <sys/epoll.h>

#include <cerrno>
#include <cstring>

#include "cohaul/base/align.h"
#include "cohaul/transport/socket.h"

namespace cohaul::transport {
namespace {

constexpr std::size_t kBufferBytes = 64 << 10;
constexpr std::size_t kDirectBytes = 16 << 10;  // so much of a frame still to come is read straight to its place
constexpr std::size_t kCopiedPayloadMax = 4 << 10;
constexpr int kPartsMax = 64;

}  // namespace

TcpChannel::TcpChannel(std::unique_ptr<Stream> stream, Identity self, Identity peer)
    : stream_(std::move(stream)),
      self_(std::move(self)),
      peer_(std::move(peer)),
      pool_(std::make_shared<FramePool>()),
      buffer_(kBufferBytes) {
  set_no_delay(stream_->fd());
}

Status TcpChannel::attach(RealPoller& poller) {
  COHAUL_TRY(poller.watch(stream_->fd(), EPOLLIN | EPOLLOUT | EPOLLRDHUP, *this));
  attached_ = true;
  return {};
}

void TcpChannel::detach(RealPoller& poller) {
  poller.unwatch(stream_->fd());
  attached_ = false;
  readable_ = writable_ = true;
}

void TcpChannel::on_event(int, std::uint32_t events) {
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) readable_ = true;
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) hung_up_ = true;
  if (events & EPOLLOUT) writable_ = true;
}

bool TcpChannel::ready() {
  bool wrote = (!queue_.empty() || stream_->holds()) && (writable_ || !attached_) && write_some();
  if (!next_ && failed_.ok()) pump();
  return wrote || next_.has_value() || (!failed_.ok() && !told_);
}

Status TcpChannel::send(const Message& message) {
  COHAUL_TRY(check_message(message));
  if (!failed_.ok()) return failed_;
  if (!send_failed_.ok()) return send_failed_;
  if (queue_.size() >= kQueueFramesMax) return unavailable(describe(peer_) + ": the queue of frames to it is full");
  Header h = header_from(self_, FrameType::data);
  h.sequence = sent_++;
  h.kind = message.kind;
  h.clock = message.clock;
  h.key = message.key;
  h.body_length = static_cast<std::uint32_t>(message.body.size());
  h.payload_length = message.payload.size();
  if (!stream_->verifies()) h.content_checksum = content_checksum(message.body, message.payload);
  seal(h);
  payload_bytes_sent_ += message.payload.size();

  Outgoing& out = queue_.push();
  out.head.clear();
  out.written = 0;
  Writer to(out.head);
  to.put(h).raw(message.body);
  if (message.payload.size() <= kCopiedPayloadMax) {
    to.raw(message.payload);
    out.payload = {};
  } else {
    out.payload = message.payload;
    out.keep = message.keep;
  }
  if (queue_.size() == 1 || writable_) write_some();
  return send_failed_;
}

Result<bool> TcpChannel::flush() {
  if (!attached_) writable_ = true;
  if (!queue_.empty() || stream_->holds()) write_some();
  if (!send_failed_.ok()) return send_failed_;
  return queue_.empty() && !stream_->holds();
}

// Returns true when a frame went out whole, or sending failed.
bool TcpChannel::write_some() {
  std::size_t before = queue_.size();
  const bool held = send_failed_.ok() && stream_->holds();
  if (const ssize_t left = held ? stream_->flush() : 0; left < 0) {
    writable_ = false;
    if (left != -EAGAIN) lose_sending(peer_lost(describe(peer_) + ": " + closed_text(left)));
    return queue_.size() < before;
  }
  while (!queue_.empty() && send_failed_.ok()) {
    std::array<iovec, kPartsMax> parts;
    std::size_t count = 0, total = 0;
    for (std::size_t i = 0; i < queue_.size() && count + 2 <= parts.size(); ++i) {
      Outgoing& out = queue_[i];
      std::size_t head = std::min(out.written, out.head.size()), tail = out.written - head;
      if (head < out.head.size()) parts[count++] = {out.head.data() + head, out.head.size() - head};
      if (tail < out.payload.size()) {
        parts[count++] = {const_cast<std::byte*>(out.payload.data()) + tail, out.payload.size() - tail};
      }
      total += out.size() - out.written;
    }
    const ssize_t n = stream_->write(std::span(parts).first(count));
    if (n < 0) {
      if (n == -EINTR) continue;
      if (n != -EAGAIN) lose_sending(peer_lost(describe(peer_) + ": " + closed_text(n)));
      writable_ = false;
      break;
    }
    written(static_cast<std::size_t>(n));
    if (static_cast<std::size_t>(n) < total && stream_->short_means_blocked()) writable_ = false;
    if (!writable_) break;
  }
  if (send_failed_.ok() && stream_->holds()) writable_ = false;
  return held || queue_.size() < before;
}

void TcpChannel::written(std::size_t bytes) {
  while (bytes > 0) {
    Outgoing& out = queue_.front();
    std::size_t n = std::min(bytes, out.size() - out.written);
    out.written += n;
    bytes -= n;
    if (out.written < out.size()) return;
    out.keep.reset();
    queue_.pop();
  }
}

void TcpChannel::lose_sending(Status why) {
  send_failed_ = std::move(why);
  while (!queue_.empty()) {
    queue_.front().keep.reset();
    queue_.pop();
  }
  readable_ = true;  // what came before is still read, then the end
}

Result<std::optional<Frame>> TcpChannel::receive() {
  if (!next_ && failed_.ok()) {
    if (!attached_) readable_ = true;
    pump();
  }
  if (next_) {
    std::optional<Frame> out = std::move(next_);
    next_.reset();
    return out;
  }
  if (!failed_.ok()) {
    told_ = true;
    return failed_;
  }
  return std::optional<Frame>{};
}

// Reads until one frame is whole, the socket is empty, or the peer is lost.
void TcpChannel::pump() {
  while (!next_ && failed_.ok()) {
    if (!incoming_ && !begin_frame()) return;
    if (!fill_frame() || !finish_frame()) return;
  }
}

bool TcpChannel::begin_frame() {
  while (end_ - begin_ < kHeaderBytes) {
    if (!fill_buffer()) return false;
  }
  auto decoded = decode_header(ConstBytes(buffer_).subspan(begin_, kHeaderBytes));
  if (!decoded.ok()) return fail(decoded.status()), false;
  const Header& h = *decoded;
  if (h.type != FrameType::data || h.by_address())
    return fail(corrupt("a frame of a type that does not belong here")), false;
  if (Status s = check_sender(h, peer_); !s.ok()) return fail(s), false;
  if (h.sequence != received_) {
    return fail(corrupt("frame " + std::to_string(received_) + " is missing: got " + std::to_string(h.sequence))),
           false;
  }
  begin_ += kHeaderBytes;
  Incoming in;
  in.header = h;
  if (h.payload_length > 0 && place_) {
    Bytes place = place_(h.kind, h.clock, h.key, h.payload_length);
    if (place.size() == h.payload_length) in.payload = place;
  }
  std::size_t payload_at = aligned(h.body_length);
  std::size_t needed = in.payload.empty() ? payload_at + h.payload_length : payload_at;
  if (needed > 0) {
    in.buffer = pool_->take(needed);
    if (in.buffer == nullptr)
      return fail(internal("no memory for a frame of " + std::to_string(needed) + " bytes")), false;
    in.body = {in.buffer->data, h.body_length};
    if (in.payload.empty()) in.payload = {in.buffer->data + payload_at, h.payload_length};
  }
  incoming_ = in;
  return true;
}

Bytes TcpChannel::rest_of_incoming() {
  Incoming& in = *incoming_;
  return in.filled < in.body.size() ? in.body.subspan(in.filled) : in.payload.subspan(in.filled - in.body.size());
}

bool TcpChannel::fill_frame() {
  Incoming& in = *incoming_;
  while (in.filled < in.size()) {
    Bytes rest = rest_of_incoming();
    std::size_t n = std::min(rest.size(), end_ - begin_);
    if (n > 0) {
      std::memcpy(rest.data(), buffer_.data() + begin_, n);
      begin_ += n;
    } else if (rest.size() >= kDirectBytes) {
      if (!read_into(rest, n)) return false;
    } else if (!fill_buffer()) {
      return false;
    }
    in.filled += n;
  }
  return true;
}

bool TcpChannel::finish_frame() {
  Incoming in = *incoming_;
  incoming_.reset();
  Frame frame = in.buffer != nullptr ? Frame(in.buffer) : Frame();
  if (!stream_->verifies() && content_checksum(in.body, in.payload) != in.header.content_checksum) {
    fail(corrupt("a frame's content does not match its checksum"));
    return false;
  }
  frame.kind = in.header.kind;
  frame.clock = in.header.clock;
  frame.key = in.header.key;
  frame.body = in.body;
  frame.payload = in.payload;
  ++received_;
  next_ = std::move(frame);
  return true;
}

bool TcpChannel::fill_buffer() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  std::size_t got = 0;
  if (!read_into(Bytes(buffer_).subspan(end_), got)) return false;
  end_ += got;
  return true;
}

bool TcpChannel::read_into(Bytes at, std::size_t& got) {
  if (!readable_ && !hung_up_) return false;
  for (;;) {
    const ssize_t n = stream_->read(at);
    if (n > 0) {
      got = static_cast<std::size_t>(n);
      if (got < at.size() && stream_->short_means_blocked()) readable_ = false;  // empty now; an edge tells of more
      return true;
    }
    if (n == -EINTR) continue;
    if (n == -EAGAIN) {
      readable_ = false;
      return false;
    }
    fail(peer_lost(closed_text(n)));
    return false;
  }
}

void TcpChannel::fail(Status why) {
  failed_ = why.context(describe(peer_));
  drop_incoming();
}

void TcpChannel::drop_incoming() {
  if (incoming_ && incoming_->buffer != nullptr) incoming_->buffer->release();
  incoming_.reset();
}

}  // namespace cohaul::transport
