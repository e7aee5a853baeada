#pragma once
// HostSums: sums gradients of a host's workers, partition by partition, for the partitions whose gradients this worker sums for its host. A state
// machine without I/O.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/ps/host_plan.h"
#include "cohaul/ps/messages.h"
#include "cohaul/transport/channel.h"
#include "cohaul/update/owner.h"

namespace cohaul::ps {

/// One thread uses it. It allocates at construction, and in the first steps in which gradients are absent. All arguments by reference must outlive
/// it.
class HostSums {
 public:
  /// names: find out which parameter and worker has a gradient that is not finite.
  HostSums(const update::Layout& layout, const HostPlan& plan, ConstBytes parameters, bool names);

  /// What is sent to the server. The views are valid until the next step.
  struct SummedPush {
    int sum = 0;  // index in the plan's sums
    Push push;
    ConstBytes gradient;
  };
  /// Takes a worker's gradient of a partition. Returns the sum if this was the last missing gradient, otherwise null. A worker may be one step ahead.
  /// frame: holds the gradient's bytes; empty for this worker's own, which must stay unchanged until the step is over. corrupt, invalid: what the
  /// worker did wrong.
  Result<const SummedPush*> take(int from, std::size_t partition, const Push& push, ConstBytes gradient,
                                 transport::Frame frame);
  /// Forgets this worker's own gradients of a step that is given up; they will be pushed again.
  void forget_own(std::int64_t step);
  /// Returns whether a gradient of that worker is missing in the step.
  bool misses(int worker, std::int64_t step) const;

 private:
  struct Slot {
    bool here = false;
    transport::Frame frame;
    ConstBytes gradient;
    std::vector<std::byte> absent;
    double samples = 0;
  };
  struct Place {  // a sum that this worker makes
    std::size_t partition = 0;
    int sum = 0;
    std::size_t first_slot = 0, offset = 0;
    std::int64_t summed = -1;  // the last step for which the sum was made
  };
  struct StepState {
    std::int64_t step = -1;
    std::size_t here = 0;
    std::vector<Slot> slots;
  };
  Place* find(std::size_t partition, int sum);
  Status check(std::size_t partition, const Push& push, ConstBytes gradient) const;
  const SummedPush* sum_up(Place& place, std::int64_t step, std::span<Slot> slots);

  const update::Layout& layout_;
  const HostPlan& plan_;
  const ConstBytes parameters_;
  const bool names_;
  std::vector<Place> places_;  // by partition, then sum
  StepState steps_[2];
  std::vector<std::byte> memory_;  // memory of the sums
  std::vector<update::Contribution> contributions_;
  std::vector<std::byte> absent_;
  SummedPush summed_;
};

}  // namespace cohaul::ps
