#pragma once
// Messages that wait to be sent on one channel because its queue is full, so that a state machine can always send.

#include <deque>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/transport/channel.h"

namespace cohaul::ps {

/// One thread uses it. Its size is bounded by what the state machines send: at most one message per partition and question, and one per report of an
/// update.
class Outgoing {
 public:
  explicit Outgoing(transport::Channel& channel) : channel_(channel) {}

  Status send(const transport::Message& message);
  /// Sends as much as possible. Returns true if nothing is waiting, neither here nor in the channel.
  Result<bool> flush();

 private:
  struct Waiting {
    transport::Message message;
    std::vector<std::byte> body;
  };
  transport::Channel& channel_;
  std::deque<Waiting> waiting_;
};

}  // namespace cohaul::ps
