#pragma once
// Consistency: how far workers may drift apart, as pure functions of their clocks. Whoever must decide asks here; nothing
// here sends, waits or remembers. Each decision comes with its reason.
//
//   sync        a step's update is made when all of its slices have come; everybody computes on it
//   async       every push is applied when it comes
//   bounded(s)  like async, but nobody starts a step while he has pushed more than s times more than the slowest live,
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

/// What the coordinator knows of one worker.
struct Progress {
  /// draining: it waits for the last pushes of others, and has no step to start
  enum class State : std::uint8_t { computing, waiting, draining, finished, lost } state = State::computing;
  std::int64_t pushed = 0;   // its clock: pushes that all servers have acknowledged
  std::int64_t arrival = 0;  // when it began to wait, in order of arrival
  bool counts() const { return state != State::finished && state != State::lost; }
};

/// The clock of the slowest live, unfinished worker; nothing if there is none.
std::optional<std::int64_t> slowest(std::span<const Progress> workers);

struct Decision {
  bool yes = false;
  std::string_view reason;
};

/// May a worker that has pushed `pushed` times start its next step?
Decision may_start(const Consistency& consistency, std::int64_t pushed, std::int64_t slowest);

/// Which waiting worker starts next: of those that may, the slowest, then the one that waits longest. Nothing: none may.
std::optional<WorkerRank> next_to_start(const Consistency& consistency, std::span<const Progress> workers);

/// Is a partition's update due, now that contributions cover `covered` of the step's `slices`?
Decision update_is_due(const Consistency& consistency, std::int32_t covered, std::int32_t slices);

}  // namespace cohaul::ps
