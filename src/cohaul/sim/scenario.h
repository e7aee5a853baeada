#pragma once
// The parameters of a simulated run: a pure function of the seed.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/ids.h"
#include "cohaul/job/member.h"
#include "cohaul/ps/consistency.h"
#include "cohaul/update/gradient_policy.h"
#include "cohaul/update/layout.h"

namespace cohaul::sim {

struct Fault {
  enum class Kind : std::uint8_t {
    kill,  // it dies: each connection closes, or breaks and loses what is on the way (the launcher's only closes)
    stop,  // it stops for `lasts`; its connections stay open
    slow,  // a worker computes for `lasts`; its heartbeats go on
    hold,  // its messages to `peer` arrive up to `lasts` later
    cut,   // a worker's connection to server `peer` breaks, though both processes live
  };
  static constexpr std::int32_t kLauncher = -1;

  Kind kind = Kind::kill;
  job::MemberKey who;  // for the launcher only kill and stop
  Time at = 0;
  Duration lasts = 0;  // kForever: for good
  std::int32_t peer = kLauncher;

  bool is_fatal(Duration peer_timeout) const;
  std::string describe() const;
};

/// A worker leaves the first loop early, when it is granted its step number `after`, counted from 0 (asynchronous modes).
struct Leave {
  std::int32_t worker = 0;
  std::int64_t after = 0;
  bool stop = false;  // true: the loop ends for all
};

struct Scenario {
  std::uint64_t seed = 0;     // seed of the schedule of events
  std::uint64_t problem = 0;  // seed of the gradients
  ps::Consistency consistency;
  std::int32_t workers = 1, servers = 1, slices = 1;
  update::GradientPolicy policy;
  std::int64_t steps = 1;  // of each loop
  std::int64_t loops = 1;
  std::optional<Leave> leave;
  bool one_host = false;
  double repeat_rate = 0;  // fraction of pushes, and of other messages that may be repeated, that are sent twice
  Duration delay_max = 1, compute_max = 1, peer_timeout = kSecond;
  /// The launcher learns how its children end; otherwise it has only connections and heartbeats.
  bool is_reaped = false;
  bool goes_on = false;          // asynchronous modes only: servers are told of a lost worker, and the others go on
  std::int64_t save_after = -1;  // synchronous: the step after which a checkpoint is written; negative: none
  std::vector<Fault> faults;

  static Scenario draw(std::uint64_t seed);
  std::string describe() const;
  std::int64_t all_steps() const { return steps * loops; }
  /// Returns whether one of the step's gradients is not finite. There is no such step if the policy is to apply all.
  bool is_poisoned(Step step) const { return policy.non_finite != update::NonFinite::apply && step.value % 5 == 3; }
  bool is_sync() const { return consistency.kind == ps::Consistency::Kind::sync; }
};

constexpr Duration kJoinTimeout = 2 * kSecond;

/// A small model with several buckets and partitions, float64; parameter kFrozen is frozen.
constexpr std::int32_t kFrozen = 2;
update::Layout small_layout();

}  // namespace cohaul::sim
