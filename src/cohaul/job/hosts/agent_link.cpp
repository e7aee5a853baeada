#include "cohaul/job/hosts/agent_link.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>

#include "cohaul/base/bytes.h"

namespace cohaul::job {
namespace {

constexpr std::size_t kLengthBytes = sizeof(std::uint32_t), kReadBytes = 64 << 10;

void make_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

}  // namespace

std::string AgentMessage::text(const std::string& name) const {
  const auto it = fields.find(name);
  return it == fields.end() ? "" : it->second;
}

std::int64_t AgentMessage::number(const std::string& name) const {
  const std::string value = text(name);
  std::int64_t out = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), out);
  return error == std::errc() && end == value.data() + value.size() ? out : 0;
}

std::string encode(const AgentMessage& message) {
  std::vector<std::byte> out;
  Writer writer(out);
  writer.text(message.kind);
  for (const auto& [name, value] : message.fields) writer.text(name).text(value);
  return {reinterpret_cast<const char*>(out.data()), out.size()};
}

Result<AgentMessage> decode_agent_message(std::string_view bytes) {
  Reader reader(as_bytes(bytes));
  AgentMessage out{.kind = reader.text()};
  while (reader.ok() && reader.left() > 0) {
    std::string name = reader.text();
    out.fields[std::move(name)] = reader.text();
  }
  if (!reader.done() || out.kind.empty()) return corrupt("a message of an agent that is broken");
  return out;
}

AgentLink::AgentLink(transport::Descriptor in, transport::Descriptor out) : in_(std::move(in)), out_(std::move(out)) {
  make_nonblocking(in_.get());
  make_nonblocking(out_.get());
}

void AgentLink::send(const AgentMessage& message) {
  const std::string body = encode(message);
  const auto length = static_cast<std::uint32_t>(body.size());
  out_bytes_.append(reinterpret_cast<const char*>(&length), sizeof length);
  out_bytes_ += body;
  flush();
}

void AgentLink::flush() {
  while (failed_.ok() && queued() > 0) {
    const ssize_t n = ::write(out_.get(), out_bytes_.data() + out_at_, queued());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) failed_ = peer_lost(std::string("the connection closed (") + std::strerror(errno) + ")");
    else out_at_ += static_cast<std::size_t>(n);
  }
  out_bytes_.clear();
  out_at_ = 0;
}

void AgentLink::read_some() {
  for (;;) {
    const std::size_t have = in_bytes_.size();
    in_bytes_.resize(have + kReadBytes);
    const ssize_t n = ::read(in_.get(), in_bytes_.data() + have, kReadBytes);
    const int error = errno;
    in_bytes_.resize(have + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    if (n < 0 && error == EINTR) continue;
    if (n == 0) failed_ = peer_lost("the connection closed");
    if (n < 0 && error != EAGAIN)
      failed_ = peer_lost(std::string("the connection closed (") + std::strerror(error) + ")");
    if (n <= 0 || in_bytes_.size() > kAgentMessageBytesMax) return;
  }
}

Result<std::optional<AgentMessage>> AgentLink::receive() {
  if (failed_.ok()) read_some();
  std::uint32_t length = 0;
  if (in_bytes_.size() >= kLengthBytes) {
    std::memcpy(&length, in_bytes_.data(), kLengthBytes);
    if (length > kAgentMessageBytesMax) failed_ = corrupt("a message of an agent that is too long");
    else if (in_bytes_.size() - kLengthBytes >= length) {
      Result<AgentMessage> message = decode_agent_message(std::string_view(in_bytes_).substr(kLengthBytes, length));
      in_bytes_.erase(0, kLengthBytes + length);
      if (message.ok()) return std::optional(std::move(*message));
      failed_ = message.status();
    }
  }
  if (!failed_.ok()) return failed_;
  return std::optional<AgentMessage>();
}

void AgentLink::watch(std::vector<pollfd>& descriptors) const {
  descriptors.push_back({in_.get(), POLLIN, 0});
  if (queued() > 0) descriptors.push_back({out_.get(), POLLOUT, 0});
}

}  // namespace cohaul::job
