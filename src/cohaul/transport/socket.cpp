#include "cohaul/transport/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>

#include "cohaul/base/check.h"
#include "cohaul/base/limits.h"

namespace cohaul::transport {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* a) const { freeaddrinfo(a); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

Result<Addresses> numeric(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0 || found == nullptr) {
    return invalid("'" + host + "' is not a numeric IPv4 or IPv6 address, such as 127.0.0.1");
  }
  return Addresses(found);
}

sockaddr_un unix_address(const std::string& name, socklen_t& length) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::size_t n = std::min(name.size(), sizeof a.sun_path - 1);
  std::memcpy(a.sun_path + 1, name.data(), n);  // a leading zero byte: abstract
  length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + n);
  return a;
}

Result<Descriptor> unix_socket() {
  Descriptor fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return system_error("Unix socket", errno);
  return fd;
}

}  // namespace

Result<Descriptor> tcp_listen(const std::string& host, std::uint16_t& port) {
  COHAUL_ASSIGN(Addresses a, numeric(host, port));
  std::string where = host + " port " + std::to_string(port);
  Descriptor fd(socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return system_error("socket", errno);
  int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd.get(), a->ai_addr, a->ai_addrlen) != 0 || listen(fd.get(), 512) != 0) {
    int error = errno;
    if (error == EADDRINUSE) return unavailable("cannot listen on " + where + ": the port is taken by another program");
    if (error == EADDRNOTAVAIL) return invalid("cannot listen on " + where + ": this host has no such address");
    return system_error("listen on " + where, error);
  }
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &length) != 0)
    return system_error("getsockname", errno);
  port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                           : reinterpret_cast<sockaddr_in&>(bound).sin_port);
  return fd;
}

Result<Descriptor> tcp_connect(const std::string& host, std::uint16_t port) {
  COHAUL_ASSIGN(Addresses a, numeric(host, port));
  Descriptor fd(socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return system_error("socket", errno);
  set_no_delay(fd.get());
  if (connect(fd.get(), a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS) {
    int error = errno;
    if (error == ECONNREFUSED || error == EAGAIN) return unavailable("nobody listens");
    return unavailable(std::string("connect: ") + std::strerror(error));
  }
  return fd;
}

bool is_of_this_host(const std::string& host) {
  const Result<Addresses> a = numeric(host, 0);
  if (!a.ok()) return false;
  const Descriptor fd(socket((*a)->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return fd.valid() && bind(fd.get(), (*a)->ai_addr, (*a)->ai_addrlen) == 0;
}

void set_no_delay(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Result<Descriptor> unix_listen(const std::string& name) {
  COHAUL_ASSIGN(Descriptor fd, unix_socket());
  socklen_t length = 0;
  sockaddr_un a = unix_address(name, length);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&a), length) != 0 || listen(fd.get(), 512) != 0) {
    if (errno == EADDRINUSE) return unavailable("another process listens on the abstract Unix socket " + name);
    return system_error("listen on the abstract Unix socket " + name, errno);
  }
  return fd;
}

Result<Descriptor> unix_connect(const std::string& name) {
  COHAUL_ASSIGN(Descriptor fd, unix_socket());
  socklen_t length = 0;
  sockaddr_un a = unix_address(name, length);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&a), length) != 0) {
    if (errno == ECONNREFUSED) return Descriptor();
    if (errno == EAGAIN) return unavailable("its queue is full");
    return system_error("connect to the abstract Unix socket " + name, errno);
  }
  return fd;
}

Descriptor accept_from(int listener, int& error) {
  Descriptor fd(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  error = fd.valid() ? 0 : errno;
  return fd;
}

Result<std::string> numeric_text(const sockaddr* address, socklen_t length) {
  char text[NI_MAXHOST];
  if (int error = getnameinfo(address, length, text, sizeof text, nullptr, 0, NI_NUMERICHOST); error != 0)
    return internal(std::string("getnameinfo: ") + gai_strerror(error));
  return std::string(text);
}

std::string peer_of(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return "";
  if (address.ss_family == AF_UNIX) {
    ucred who{};
    socklen_t size = sizeof who;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 ? "user " + std::to_string(who.uid) : "";
  }
  const auto text = numeric_text(reinterpret_cast<sockaddr*>(&address), length);
  return text.ok() ? *text : "";
}

int socket_error(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

std::string closed_text(long result) {
  const std::string text = "connection closed";
  return result == 0 ? text : text + " (" + std::strerror(static_cast<int>(-result)) + ")";
}

long send_with_descriptors(int fd, ConstBytes bytes, std::span<const int> descriptors) {
  COHAUL_CHECK(descriptors.size() <= kDescriptorsMax, "a message carries at most kDescriptorsMax descriptors");
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsMax * sizeof(int))]{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(c), descriptors.data(), descriptors.size_bytes());
  }
  ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);
  return n < 0 ? -errno : n;
}

long receive_with_descriptors(int fd, Bytes into, std::vector<Descriptor>& descriptors) {
  iovec part{into.data(), into.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsMax * sizeof(int))]{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  if (n < 0) return -errno;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int got = -1;
      std::memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof got);
      descriptors.emplace_back(got);
    }
  }
  if ((message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0) return -EPROTO;
  return n;
}

}  // namespace cohaul::transport
