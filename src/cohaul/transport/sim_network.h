#pragma once
// The simulated network: channels and pollers behind the real interfaces, on a virtual clock, with every delay and loss drawn from a
// seed, so that a run is a pure function of its seed. Frames of one channel stay in order; frames of different channels overtake
// each other. One thread drives everything: either a SimPoller's wait(), or step().

#include <cstdint>
#include <memory>
#include <utility>

#include "cohaul/base/clock.h"
#include "cohaul/transport/channel.h"
#include "cohaul/transport/poller.h"

namespace cohaul::transport {

struct SimSettings {
  std::uint64_t seed = 0;
  Duration delay_min = 10 * kMicrosecond, delay_max = kMillisecond;  // of each frame, uniform; delay_max >= delay_min
  double loss = 0;        // chance that a sent frame breaks its connection instead
  bool one_host = false;  // payloads in lent arenas travel as addresses: the receiver reads what is there when it looks
};

/// Channels, pollers and frames may outlive it.
class SimNetwork {
 public:
  explicit SimNetwork(const SimSettings& settings);
  ~SimNetwork();

  const Clock& clock() const;
  /// Its wait() steps the network until a channel added to it has something, or up to the deadline, to which it moves
  /// the clock. With nothing on the way and no deadline it returns internal, since in reality it would hang.
  std::unique_ptr<Poller> make_poller();
  /// Returns the end at `first` and the end at `second` of a new, greeted connection. Payloads are copied by send(),
  /// unless it is on one host.
  std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>> connect(const Identity& first, const Identity& second);
  /// The same, but `one_host` says whether both are on one host, whatever the settings say.
  std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>> connect(const Identity& first, const Identity& second,
                                                                        bool one_host);
  /// Breaks the connection of this end: what is on the way is lost, and both ends find their peer gone.
  void cut(Channel& end);
  /// Delays what this end sends from now on, its end included: it arrives after `until`. Order is kept, and nothing is
  /// lost.
  void hold(Channel& end, Time until);
  /// Moves the clock to the next arrival. Returns false, and leaves the clock, where there is none until then.
  bool step(Time until = kForever);
  /// Moves the clock to `time`, past all arrivals until then. No effect if that is past.
  void advance_to(Time time);
  /// Returns a hash of all frames that were received until now: by whom, from whom, when, and every byte. Equal
  /// hashes mean the same run.
  std::uint64_t trace() const;

 private:
  struct World;
  class End;
  class SimPoller;
  static End& ours(Channel& end);
  std::shared_ptr<World> world_;
};

}  // namespace cohaul::transport
