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

/// Listens. Port 0: any free one; `port` becomes the real one. Errors: invalid (not a numeric address), unavailable
/// (taken), internal.
Result<Descriptor> tcp_listen(const std::string& host, std::uint16_t& port);
/// Begins to connect. The socket is writable when that is done, and socket_error() then says how it went. Errors:
/// invalid, internal.
Result<Descriptor> tcp_connect(const std::string& host, std::uint16_t port);
void set_no_delay(int fd);
/// Whether a numeric address is one of this host's.
bool is_of_this_host(const std::string& host);

/// Listens at an abstract Unix socket (SOCK_SEQPACKET: a message is received whole, with its descriptors). Errors:
/// unavailable (another process has the name), internal.
Result<Descriptor> unix_listen(const std::string& name);
/// Returns a valid Descriptor, or none where no process has this name in this network namespace. Errors: unavailable
/// (its queue is full), internal.
Result<Descriptor> unix_connect(const std::string& name);

/// The same, but tries again while the queue is full. Blocks until `deadline` (peer_lost). Asks `may_come` before
/// each retry, and returns its error.
Result<Descriptor> unix_connect(const std::string& name, Time deadline, const std::function<Status()>& may_come = {});

/// "10.0.0.1", "fe80::1%eth0". Errors: internal.
Result<std::string> numeric_text(const sockaddr* address, socklen_t length);

/// Returns a valid Descriptor, or none when no connection waits; `error` gets the errno of accept4.
Descriptor accept_from(int listener, int& error);
/// Returns the peer, as far as the kernel knows it: a numeric address, or "user 1000" of a Unix socket.
std::string peer_of(int fd);
/// Returns the pending error of a socket as errno; 0: none.
int socket_error(int fd);

/// Sends one message with descriptors. Returns sendmsg's result: bytes, or −errno.
long send_with_descriptors(int fd, ConstBytes bytes, std::span<const int> descriptors);
/// Receives one message, and appends the descriptors that came with it. Returns bytes (0: closed), or −errno.
/// −EPROTO: more descriptors than fit.
long receive_with_descriptors(int fd, Bytes into, std::vector<Descriptor>& descriptors);

/// Returns "connection closed (Broken pipe)" for −errno; "connection closed" for 0.
std::string closed_text(long result);

/// Blocks until `fd` (−1: none) has one of `events` (poll's). Returns false at `deadline` of the steady clock.
/// Defined beside the poller, the only place that waits.
bool wait_for(int fd, short events, Time deadline);

}  // namespace cohaul::transport
