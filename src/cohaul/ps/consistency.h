#pragma once
// Consistency: how far workers may drift apart, as pure functions of their clocks. Each returns a decision with its reason.
//
//   sync        a step's update is made when the gradients of all its slices have come; then all workers compute with the new parameters
//   async       every push is applied when it comes
//   bounded(s)  like async, but a worker waits before a step while it is more than s pushes ahead of the slowest live,
//               unfinished worker (SSP: Ho et al., "More effective distributed ML via a stale synchronous parallel
//               parameter server", NIPS 2013)

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "cohaul/base/bytes.h"
#include "cohaul/base/ids.h"
#include "cohaul/base/status.h"

namespace cohaul::ps {

struct Consistency {
  enum class Kind : std::uint8_t { sync, async, bounded } kind = Kind::sync;
  std::int64_t staleness = 0;  // s of bounded, ≥ 0
  bool operator==(const Consistency&) const = default;

  void encode(Writer& out) const;
  static Result<Consistency> decode(Reader& in);  // corrupt
};
std::string_view name(Consistency::Kind kind);

/// The state of one worker, as the coordinator knows it.
struct Progress {
  /// draining: it waits for the last pushes of others, and there is no step left for it
  enum class State : std::uint8_t { computing, waiting, draining, finished, lost } state = State::computing;
  std::int64_t pushed = 0;   // its clock: number of its pushes that all servers have acknowledged
  std::int64_t arrival = 0;  // position in the order in which workers began to wait
  bool counts() const { return state != State::finished && state != State::lost; }
};

/// Returns the clock of the slowest live, unfinished worker; nothing if there is none.
std::optional<std::int64_t> slowest(std::span<const Progress> workers);

struct Decision {
  bool yes = false;
  std::string_view reason;
};

/// Returns whether a worker that has pushed `pushed` times may start its next step.
Decision may_start(const Consistency& consistency, std::int64_t pushed, std::int64_t slowest);

/// Returns which waiting worker starts next: of those that may, the slowest, and among equals the one that has waited longest. Nothing: none may.
std::optional<WorkerRank> next_to_start(const Consistency& consistency, std::span<const Progress> workers);

/// Returns whether a partition's update is due when contributions cover `covered` of the step's `slices`.
Decision update_is_due(const Consistency& consistency, std::int32_t covered, std::int32_t slices);

}  // namespace cohaul::ps
