#pragma once
// The thread that runs a rendezvous on a TCP endpoint: in the launcher's process, or beside worker 0.

#include <functional>
#include <memory>
#include <string>

#include "cohaul/job/rendezvous.h"
#include "cohaul/transport/endpoint.h"

namespace cohaul::job {

class RendezvousHost {
 public:
  /// Called on the host's thread, in order; must not block.
  using OnDecision = std::function<void(const Decision&)>;

  /// Listens and serves until destroyed. Errors: those of transport::listen.
  static Result<std::unique_ptr<RendezvousHost>> start(const transport::Identity& self,
                                                       const transport::Listening& where,
                                                       const Membership::Options& options, OnDecision on_decision = {});
  virtual ~RendezvousHost() = default;  // stops the thread and closes all connections

  virtual const transport::Address& address() const = 0;
  /// Tells that a process which this one has started has ended. Any thread.
  virtual void exited(MemberKey who, const ProcessExit& how) = 0;
  /// Returns the process that was refused last, and why; empty: none was. Any thread.
  virtual std::string last_refusal() = 0;
  /// Blocks until every member has left, a loss is decided, or `deadline`. Any other thread.
  virtual void wait_until_left(Time deadline) = 0;
};

}  // namespace cohaul::job
