#pragma once
// Stream: bytes to and from one TCP peer, as they are or under TLS. Nothing blocks.

#include <sys/uio.h>

#include <memory>
#include <span>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/transport/channel.h"
#include "cohaul/transport/descriptor.h"

namespace cohaul::transport {

class Stream {
 public:
  virtual ~Stream() = default;  // closes
  virtual int fd() const = 0;

  /// Goes on with what must be said before the first byte. Returns true when that is done; else wants() says what it
  /// waits for. Errors: invalid (the other end does not know the secret, has no certificate of the job, or speaks no
  /// TLS), peer_lost.
  virtual Result<bool> handshake() = 0;
  /// Checks, after the handshake, whether the other end's certificate lets it speak as `who`. Without certificates
  /// every peer may. Errors: invalid (says who it is).
  virtual Status may_speak_as(const Identity& who) const = 0;
  /// Returns the events of poll() that it waits for.
  virtual short wants() const = 0;

  /// Writes as much of the parts as goes. Returns bytes, or −errno: −EAGAIN where nothing goes now. The next call
  /// must then begin with the same bytes.
  virtual ssize_t write(std::span<const iovec> parts) = 0;
  /// Sends what write() has taken and still holds. Returns 0 when nothing is left; else −errno: −EAGAIN where not all
  /// goes now.
  virtual ssize_t flush() { return 0; }
  virtual bool holds() const { return false; }
  /// Returns bytes, 0 at the end of the stream, or −errno: −EAGAIN where nothing is there now.
  virtual ssize_t read(Bytes into) = 0;
  /// Returns whether reading gives exactly what was written, or an error. Then no other checksum is needed.
  virtual bool verifies() const = 0;
  /// Returns whether a read or write of less than was asked for means that the next one gives −EAGAIN.
  virtual bool short_means_blocked() const = 0;
};

enum class Side { connecting, accepting };

/// Makes the stream of a connected socket: TLS 1.3 where there are credentials. Errors: invalid (a certificate that
/// cannot be read), internal (OpenSSL).
Result<std::unique_ptr<Stream>> make_stream(Descriptor socket, const Credentials& credentials, Side side);

}  // namespace cohaul::transport
