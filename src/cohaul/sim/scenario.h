#pragma once
// What a simulated run is like: a pure function of its seed.

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
    kill,  // the process dies: its connections close, or lose what is on the way (not the launcher's)
    stop,  // it stands still, its connections stay open; goes on after `lasts`
    slow,  // a worker computes for `lasts`; its heartbeats go on
    hold,  // what it says to `peer` comes up to `lasts` later
    cut,   // a worker's connection to server `peer` breaks, though both live
  };
  static constexpr std::int32_t kLauncher = -1;

  Kind kind = Kind::kill;
  job::MemberKey who;  // the launcher: kill and stop alone
  Time at = 0;
  Duration lasts = 0;  // kForever: for good
  std::int32_t peer = kLauncher;

  bool is_fatal(Duration peer_timeout) const;
  std::string describe() const;
};

/// A worker leaves the first loop early (asynchronous modes): when it is granted its step number `after`, counted from 0.
struct Leave {
  std::int32_t worker = 0;
  std::int64_t after = 0;
  bool stop = false;  // the loop ends for all
};

struct Scenario {
  std::uint64_t seed = 0;     // of the schedule
  std::uint64_t problem = 0;  // of the gradients
  ps::Consistency consistency;
  std::int32_t workers = 1, servers = 1, slices = 1;
  update::GradientPolicy policy;
  std::int64_t steps = 1;  // of each loop
  std::int64_t loops = 1;
  std::optional<Leave> leave;
  bool one_host = false;
  double repeat_rate = 0;  // of pushes, and other messages that a worker may repeat
  Duration delay_max = 1, compute_max = 1, peer_timeout = kSecond;
  bool is_reaped = false;  // a launcher learns how its children end; else only connections and heartbeats tell
  bool goes_on = false;    // asynchronous modes only: a worker's loss is told to the servers, and the others go on
  std::int64_t save_after = -1;  // synchronous: the step after which a checkpoint is made; negative: none
  std::vector<Fault> faults;

  static Scenario draw(std::uint64_t seed);
  std::string describe() const;
  std::int64_t all_steps() const { return steps * loops; }
  /// One of its gradients is not finite; no such step where the policy is to apply all.
  bool is_poisoned(Step step) const { return policy.non_finite != update::NonFinite::apply && step.value % 5 == 3; }
  bool is_sync() const { return consistency.kind == ps::Consistency::Kind::sync; }
};

constexpr Duration kJoinTimeout = 2 * kSecond;

/// A small model of several runs and partitions, float64; parameter kFrozen is frozen.
constexpr std::int32_t kFrozen = 2;
update::Layout small_layout();

}  // namespace cohaul::sim
