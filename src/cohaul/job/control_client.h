#pragma once
// A member's side of the rendezvous: a thread with a poller and a channel of its own, which sends heartbeats, carries the
// other threads' requests, learns of losses, and ends the process if nobody else does.

#include <memory>
#include <string>

#include "cohaul/base/clock.h"
#include "cohaul/job/control.h"
#include "cohaul/transport/endpoint.h"

namespace cohaul::job {

class ControlClient {
 public:
  struct Options {
    std::vector<transport::Address> rendezvous;  // where it may be: tried in turn
    transport::Identity self;
    MemberKey host{transport::Role::launcher, 0};  // who runs the rendezvous: lost when it is silent or closes
    Duration peer_timeout = 10 * kSecond;
    std::string engine;  // that started this process: its end is the job's; empty: it may end
  };
  /// How long after a loss the process may take to end by itself.
  static constexpr Duration kEndGrace = 3 * kSecond;

  /// Connects, until `deadline`, and starts the thread. Errors: transport::connect's.
  static Result<std::unique_ptr<ControlClient>> connect(const Options& options, Time deadline);
  virtual ~ControlClient() = default;  // stops the thread; tells nobody

  // Any thread:
  /// Sends a request and waits for its reply: until a loss, or the message's timeout and a little, because the rendezvous says better what is
  /// missing. The reply's value, or its Status.
  virtual Result<std::string> call(ControlMessage message) = 0;
  /// Sends a request whose reply nobody waits for.
  virtual void post(ControlMessage message) = 0;
  virtual Status health() const = 0;
  /// What the heartbeats tell: that the process waits for others, or since when it does not.
  virtual void set_waiting(bool waiting) = 0;
  /// As Job has them.
  virtual Status absent(const std::string& group, std::int64_t meetings, std::int64_t step) const = 0;
  virtual Status left(int worker) const = 0;
  /// This worker has come through a meeting with all others: what was told of who waits there is old.
  virtual void met(const Meeting& meeting) = 0;
  /// Woken by a loss, and by news for absent() and left().
  virtual void wake_on_loss(transport::Poller* poller) = 0;
  virtual void forget(transport::Poller* poller) = 0;
};

}  // namespace cohaul::job
