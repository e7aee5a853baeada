#pragma once
// The simulated network: channels and pollers behind the real interfaces, on a virtual clock, with every delay and loss drawn from a
// seed, so that a run is a pure function of its seed. Frames of one channel stay in order; frames of different channels overtake
// each other. One thread drives everything: either a SimPoller's wait(), or step().

#include <memory>
#include <utility>

#include "cohaul/base/clock.h"
#include "cohaul/transport/channel.h"
#include "cohaul/transport/poller.h"

namespace cohaul::transport {

struct SimSettings {
  std::uint64_t seed = 0;
  Duration delay_min = 10 * kMicrosecond, delay_max = kMillisecond;  // of each frame, uniform; delay_max >= delay_min
  double loss = 0;  // chance that a sent frame breaks its connection instead
};

/// Channels, pollers and frames may outlive it.
class SimNetwork {
 public:
  explicit SimNetwork(const SimSettings& settings);
  ~SimNetwork();

  const Clock& clock() const;
  /// wait() steps the network until a channel added to it has something, or up to the deadline, to which it moves the clock. With
  /// nothing on the way and no deadline it returns internal: in reality it would hang.
  std::unique_ptr<Poller> make_poller();
  /// The end at `first` and the end at `second` of a new, greeted connection. Payloads travel as bytes, copied by send().
  std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>> connect(const Identity& first, const Identity& second);
  /// Breaks the connection of this end: what is on the way is lost, and both ends find their peer gone.
  void cut(Channel& end);
  /// Moves the clock to the next arrival; false: nothing is on the way.
  bool step();
  /// Moves the clock to `time`, past all arrivals until then. No effect if that is past.
  void advance_to(Time time);

 private:
  struct World;
  class End;
  class SimPoller;
  std::shared_ptr<World> world_;
};

}  // namespace cohaul::transport
