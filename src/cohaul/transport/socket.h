#pragma once
// Sockets: the few calls that endpoint, channels and connect() share. All non-blocking, closed on exec.

#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/clock.h"
#include "cohaul/base/status.h"
#include "cohaul/transport/descriptor.h"

namespace cohaul::transport {

/// Port 0: any free; `port` becomes the real one. Errors: invalid (not a numeric address), unavailable (taken), internal.
Result<Descriptor> tcp_listen(const std::string& host, std::uint16_t& port);
/// Begins to connect: writable when done, then socket_error() says how. Errors: invalid, internal.
Result<Descriptor> tcp_connect(const std::string& host, std::uint16_t port);
void set_no_delay(int fd);
/// Whether a numeric address is one of this host's.
bool is_of_this_host(const std::string& host);

/// Abstract Unix sockets (SOCK_SEQPACKET: a message is received whole, with its descriptors).
/// Errors: unavailable (another process has the name), internal.
Result<Descriptor> unix_listen(const std::string& name);
/// A valid Descriptor, or none where nobody has this name in this network namespace. Errors: unavailable (its queue is full), internal.
Result<Descriptor> unix_connect(const std::string& name);

/// The same, again while its queue is full. Blocks until `deadline` (peer_lost); asks `may_come` before each retry, and returns its error.
Result<Descriptor> unix_connect(const std::string& name, Time deadline, const std::function<Status()>& may_come = {});

/// "10.0.0.1", "fe80::1%eth0". Errors: internal.
Result<std::string> numeric_text(const sockaddr* address, socklen_t length);

/// A valid Descriptor, or none when nobody waits; the errno of accept4 in `error`.
Descriptor accept_from(int listener, int& error);
/// Who is at the other end, as far as the kernel knows: a numeric address, or "user 1000" of a Unix socket.
std::string peer_of(int fd);
/// The pending error of a socket as errno; 0: none.
int socket_error(int fd);

/// One message with descriptors. The result is sendmsg's: bytes, or −errno.
long send_with_descriptors(int fd, ConstBytes bytes, std::span<const int> descriptors);
/// One message; descriptors that came with it are appended. Bytes (0: closed), or −errno. −EPROTO: more descriptors than fit.
long receive_with_descriptors(int fd, Bytes into, std::vector<Descriptor>& descriptors);

/// "connection closed (Broken pipe)" of −errno; "connection closed" of 0.
std::string closed_text(long result);

/// Blocks until `fd` (−1: none) has one of `events` (poll's) or `deadline` of the steady clock; false: deadline. Defined beside the
/// poller, the only place that waits.
bool wait_for(int fd, short events, Time deadline);

}  // namespace cohaul::transport
