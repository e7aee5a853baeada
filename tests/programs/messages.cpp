#include "messages.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace cohaul::programs {
namespace {

constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 30;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un out{};
  out.sun_family = AF_UNIX;
  if (path.size() >= sizeof out.sun_path) return internal("the path " + path + " is too long for a socket");
  std::copy(path.begin(), path.end(), out.sun_path);
  return out;
}

/// Blocks until there is something to read.
Status wait_for(int socket, double end_s) {
  for (;;) {
    const double left_s = end_s - now_s();
    if (end_s > 0 && left_s <= 0) return peer_lost("no answer in time");
    pollfd p{socket, POLLIN, 0};
    const int n = ::poll(&p, 1, end_s > 0 ? std::clamp(static_cast<int>(left_s * 1e3) + 1, 1, 60'000) : -1);
    if (n > 0) return {};
    if (n < 0 && errno != EINTR) return system_error("poll", errno);
  }
}

Status receive(int socket, Bytes into, double end_s) {
  while (!into.empty()) {
    COHAUL_TRY(wait_for(socket, end_s));
    const ssize_t n = ::recv(socket, into.data(), into.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return unavailable("the other end is gone");
    into = into.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Status send_all(int socket, ConstBytes bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return unavailable("the other end is gone");
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace

double now_s() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

Status send_message(int socket, ConstBytes bytes) {
  const std::uint64_t size = bytes.size();
  COHAUL_TRY(send_all(socket, as_bytes(std::span(&size, 1))));
  return send_all(socket, bytes);
}

Result<std::vector<std::byte>> receive_message(int socket, double end_s) {
  std::uint64_t size = 0;
  COHAUL_TRY(receive(socket, {reinterpret_cast<std::byte*>(&size), sizeof size}, end_s));
  if (size > kBytesMax) return corrupt("a message of " + std::to_string(size) + " bytes");
  std::vector<std::byte> out(size);
  COHAUL_TRY(receive(socket, out, end_s));
  return out;
}

Result<int> listen_at(const std::string& path) {
  COHAUL_ASSIGN(sockaddr_un address, address_of(path));
  const int s = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (s < 0) return system_error("socket", errno);
  if (::bind(s, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 && ::listen(s, 16) == 0) return s;
  const int error = errno;
  ::close(s);
  return system_error("listen at " + path, error);
}

Result<int> connect_to(const std::string& path) {
  COHAUL_ASSIGN(sockaddr_un address, address_of(path));
  const int s = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (s < 0) return system_error("socket", errno);
  if (::connect(s, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return s;
  const int error = errno;
  ::close(s);
  return system_error("connect to " + path, error);
}

}  // namespace cohaul::programs
