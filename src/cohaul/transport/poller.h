#pragma once
// Poller: the only class that waits. It waits for all channels of one thread at once: rings, TCP, new connections.

#include <memory>
#include <span>

#include "cohaul/base/clock.h"
#include "cohaul/base/status.h"
#include "cohaul/transport/channel.h"

namespace cohaul::transport {

/// One thread owns a poller; only wake() may be called by others. A channel is added to at most one, and removed before it dies.
class Poller {
 public:
  virtual ~Poller() = default;
  virtual Status add(Channel& channel) = 0;
  virtual void remove(Channel& channel) = 0;

  /// Blocks until an added channel has a frame to receive, has been lost or could write queued frames (it flushes
  /// them itself), the endpoint has an accepted channel, wake() is called, or `deadline` (of clock()) has passed. It
  /// may also return for no reason; the caller looks at its channels. Spins a little first when `set_spin` says so.
  virtual Status wait(Time deadline) = 0;
  /// Makes the present or the next wait() return. Any thread; async-signal-safe.
  virtual void wake() = 0;
  /// Sets how long wait() spins before it sleeps. After a while it yields the core to other threads in between. 0
  /// when the job's processes on this host exceed its cores.
  virtual void set_spin(Duration spin) = 0;
  virtual const Clock& clock() const = 0;
};

/// Makes the real poller: epoll, and a flag in shared memory that ring peers look at before they pay for a system
/// call.
Result<std::unique_ptr<Poller>> make_poller();

}  // namespace cohaul::transport
