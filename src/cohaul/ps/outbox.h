#pragma once
// Where the state machines put what they want said. Nobody answers during send(): it queues. So a machine never waits and
// never re-enters itself; failures of delivery reach it later, as a lost peer, or end its shell.

#include "cohaul/base/ids.h"
#include "cohaul/transport/channel.h"

namespace cohaul::ps {

/// Of a server and of the coordinator. A message to a worker that is gone is dropped.
class ToWorkers {
 public:
  virtual ~ToWorkers() = default;
  /// The body is copied; the payload is not where it can travel as an address: see Message::keep.
  virtual void send(WorkerRank to, const transport::Message& message) = 0;
};

/// Of a worker's session.
class ToServers {
 public:
  virtual ~ToServers() = default;
  virtual void send(ServerRank to, const transport::Message& message) = 0;
};

/// Of a worker's session, to others of its host. The payload is not changed before it is sent.
class ToHost {
 public:
  virtual ~ToHost() = default;
  virtual void send(WorkerRank to, const transport::Message& message) = 0;
};

}  // namespace cohaul::ps
