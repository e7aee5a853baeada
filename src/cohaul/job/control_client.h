#pragma once
// The thread that runs a member's side of the rendezvous (MemberSession) on a channel of its own. After a loss it
// ends the process if the process does not end by itself.

#include <memory>
#include <string>

#include "cohaul/base/clock.h"
#include "cohaul/job/member_session.h"
#include "cohaul/transport/endpoint.h"

namespace cohaul::job {

class ControlClient {
 public:
  struct Options {
    std::vector<transport::Address> rendezvous;  // where it may be: tried in turn
    transport::Identity self;
    MemberSession::Options session{};
    std::string engine;  // that started this process, whose end ends the job; empty: it may end
  };

  /// Connects, until `deadline`, and starts the thread. Errors: transport::connect's.
  static Result<std::unique_ptr<ControlClient>> connect(const Options& options, Time deadline);
  virtual ~ControlClient() = default;  // stops the thread, without a message

  // Any thread:
  /// Sends a request and waits for its answer, as MemberSession gives it.
  virtual Result<std::string> call(ControlMessage message) = 0;
  /// Sends a request whose reply is not waited for.
  virtual void post(ControlMessage message) = 0;
  virtual Status health() const = 0;
  /// Sets what the heartbeats tell: that the process waits for others, or since when it does not. Before the first
  /// call, it waits.
  virtual void set_waiting(bool waiting) = 0;
  /// Members on this host: one that is lost while it is stopped is made to go on, and ends by itself. Its engine would wait for it.
  virtual void set_fellows(std::vector<Member> fellows) = 0;
  /// As Job has them.
  virtual Status absent(const std::string& group, std::int64_t meetings, std::int64_t step) const = 0;
  virtual Status left(int worker) const = 0;
  virtual void met(const Meeting& meeting) = 0;
  /// Wakes this poller on a loss, and on news for absent() and left(), until forget().
  virtual void wake_on_loss(transport::Poller* poller) = 0;
  virtual void forget(transport::Poller* poller) = 0;
};

}  // namespace cohaul::job
