#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "cohaul/transport/stream.h"
#include "cohaul/transport/tls_stream.h"

namespace cohaul::transport {
namespace {

class PlainStream final : public Stream {
 public:
  explicit PlainStream(Descriptor socket) : socket_(std::move(socket)) {}
  int fd() const override { return socket_.get(); }
  Result<bool> handshake() override { return true; }
  Status may_speak_as(const Identity&) const override { return {}; }
  short wants() const override { return POLLIN; }
  ssize_t write(std::span<const iovec> parts) override {
    msghdr m{};
    m.msg_iov = const_cast<iovec*>(parts.data());
    m.msg_iovlen = parts.size();
    const ssize_t n = ::sendmsg(socket_.get(), &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n < 0 ? -errno : n;
  }
  ssize_t read(Bytes into) override {
    const ssize_t n = ::recv(socket_.get(), into.data(), into.size(), MSG_DONTWAIT);
    return n < 0 ? -errno : n;
  }
  bool verifies() const override { return false; }
  bool short_means_blocked() const override { return true; }

 private:
  Descriptor socket_;
};

}  // namespace

Result<std::unique_ptr<Stream>> make_stream(Descriptor socket, const Credentials& credentials, Side side) {
  if (!std::holds_alternative<std::monostate>(credentials))
    return make_tls_stream(std::move(socket), credentials, side);
  return std::unique_ptr<Stream>(std::make_unique<PlainStream>(std::move(socket)));
}

}  // namespace cohaul::transport
