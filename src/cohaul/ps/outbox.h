#pragma once
// Interfaces through which the state machines send messages. send() only queues a message, so a state machine never waits and is never called back
// from within send(). A failed delivery is noticed later, as a lost peer or an error of the code that runs the machine.

#include "cohaul/base/ids.h"
#include "cohaul/transport/channel.h"

namespace cohaul::ps {

/// Messages of a server and its coordinator to workers. A message to a worker that is gone is dropped.
class ToWorkers {
 public:
  virtual ~ToWorkers() = default;
  /// Queues a message. The body is copied. The payload is not copied if it can travel as an address: see Message::keep.
  virtual void send(WorkerRank to, const transport::Message& message) = 0;
};

/// Messages of a worker's session to servers.
class ToServers {
 public:
  virtual ~ToServers() = default;
  virtual void send(ServerRank to, const transport::Message& message) = 0;
};

/// Messages of a worker's session to other workers of its host. The payload must not change before it is sent.
class ToHost {
 public:
  virtual ~ToHost() = default;
  virtual void send(WorkerRank to, const transport::Message& message) = 0;
};

}  // namespace cohaul::ps
