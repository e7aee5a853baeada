#pragma once
// A network in memory with virtual time: every frame arrives after a delay drawn from the seed, in order on each connection,
// and nothing else happens in between. One event at a time, so a run is a pure function of its seed.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <utility>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/random.h"
#include "cohaul/transport/channel.h"

namespace cohaul::sim {

/// A process of the simulated job.
struct Node {
  transport::Role role = transport::Role::worker;
  std::int32_t rank = 0;
  auto operator<=>(const Node&) const = default;
};

class Network {
 public:
  struct Options {
    std::uint64_t seed = 0;
    Duration delay_max = kMillisecond;
    bool by_address = false;  // payloads are read where the sender has them, when the receiver looks
  };
  using Deliver = std::function<void(Node from, Node to, transport::Frame)>;

  Network(const Options& options, Deliver deliver);

  /// Queues the frame, `copies` times: the same bytes again, later, as a sender that retries would send them.
  void send(Node from, Node to, const transport::Message& message, int copies = 1);
  /// Runs `what` after `delay`.
  void after(Duration delay, std::function<void()> what);
  /// The node is gone: frames to it vanish; of those it has sent, each connection still delivers a random first part.
  void kill(Node node);

  /// Makes the next thing happen. False: nothing is left.
  bool step();
  Time now() const { return now_; }
  std::int64_t frames() const { return frames_; }

 private:
  struct Event {
    Time at;
    std::int64_t order;
    std::function<void()> what;
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return std::pair(a.at, a.order) > std::pair(b.at, b.order);
    }
  };
  struct Connection {
    Time last = 0;  // arrival of its newest frame
    bool open = true;
  };

  const Options options_;
  const Deliver deliver_;
  Random random_;
  Time now_ = 0;
  std::int64_t order_ = 0, frames_ = 0;
  std::priority_queue<Event, std::vector<Event>, Later> events_;
  std::map<std::pair<Node, Node>, Connection> connections_;
};

}  // namespace cohaul::sim
