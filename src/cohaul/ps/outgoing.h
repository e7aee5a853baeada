#pragma once
// What waits to be sent on one channel when its queue is full, so that a state machine can always speak.

#include <deque>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/transport/channel.h"

namespace cohaul::ps {

/// One thread. Bounded by what the machines say: at most one message per partition and question, and one per update worth telling.
class Outgoing {
 public:
  explicit Outgoing(transport::Channel& channel) : channel_(channel) {}

  Status send(const transport::Message& message);
  /// Sends what goes. True: nothing waits, neither here nor in the channel.
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
