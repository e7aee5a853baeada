#pragma once
// The interface of all strategies that keep parameters consistent: this worker's gradients go in, new parameters come
// out. The backend decides what sums, what applies the rule and where the optimizer's state lives: this process
// (local), the ranks of a group (collective), the servers (ps).
//
// A step has two phases. While backward runs, gradients are contributed, and no parameter changes. After it the step
// is finished: facts of all gradients are gathered where the policy needs them, one plan is decided, and the owners
// update.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/clock.h"
#include "cohaul/base/ids.h"
#include "cohaul/base/status.h"
#include "cohaul/update/absent.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/owner.h"
#include "cohaul/update/slices.h"

namespace cohaul::update {

/// The part of a step that a worker computes next. It contributes one gradient for each of subtrees_of(slices), its
/// parts.
struct Work {
  Step step;  // from 0
  SliceRange slices;
};

/// Steps [first, end), counted since the start, and which of their updates are reported: every report_every-th, and
/// the last. In asynchronous modes the coordinator counts: `first` and `end` are then what it said.
struct Loop {
  std::int64_t first = 0, end = 0;
  std::int64_t report_every = 0;  // 0: none
  std::int64_t number = 0;        // of this loop, from 0: all workers count alike
  std::string_view facts{};       // lines "name=value" that must be equal at all workers; empty: nothing is compared
};

/// A worker's gradient of one bucket, summed over one part of its slices.
struct Gradient {
  std::int32_t part = 0;  // index into subtrees_of(work.slices)
  std::int32_t bucket = 0;
  ConstBytes bytes{};   // Bucket::bytes of them; may be empty where all parameters of the bucket are absent
  AbsentMask absent{};  // the parameters that got no gradient in this part; their bytes are not read
  double samples =
      0;  // over which it is still to be averaged: the gradient is of Σ samples_v · loss_v; 0: it is averaged already
  /// What finish() will get. Given with the last gradients of a step where this worker's backward uses no parameter
  /// after them, so that the other workers need not wait for finish(); else empty.
  std::span<const PartEnd> ends{};
};

/// The outcome of a step.
struct StepOutcome {
  double loss = 0;                       // over the whole batch of the step
  double staleness = 0;                  // of this push: the maximum over partitions (asynchronous modes)
  std::optional<double> gradient_norm;   // before clipping, where the policy gathers facts
  std::vector<double> gradient_norms{};  // of a watched step (GradientSquares::norms); empty: it is not watched
  bool skipped = false;                  // no parameter was updated, since a gradient was not finite
  bool counted_alike = true;             // PartEnd::counters are equal
  std::uint8_t request = 0;  // the strongest of all workers' PartEnd::request, alike at all of them (synchronous modes)
};

/// One thread uses an Exchange (the one that trains). Errors are sticky: after one, every call returns it again.
class Exchange {
 public:
  virtual ~Exchange() = default;

  /// Returns the flat area (Layout::bytes()) that the model's parameters are views of. The processes of a host may
  /// share it. Only these change it: finish(), start(), write(), swap_averages(), a push with Gradient::ends, and in
  /// asynchronous modes the engine's next().
  virtual Bytes parameters() = 0;

  /// Gives worker 0's current content of parameters() to all workers. Blocks until all have it, or `deadline`
  /// (peer_lost).
  virtual Status start(Time deadline) = 0;

  /// Gives worker 0's content of parameters() to all workers once more, after worker 0 has changed it. All workers
  /// call it, not within a step. Blocks as start() does. Optimizer state stays.
  virtual Status write(Time deadline) = 0;

  /// Puts the owners' moving averages (OptimizerSettings::ema) in the place of the parameters, which the owners keep
  /// meanwhile; the next call undoes it. All workers call it, not within a step. Where parameters are shared, the
  /// others' are there when they have returned too; servers' are there when worker 0 has returned, and each worker
  /// gets them by a pull. Blocks until this worker's part is done, or `deadline` (peer_lost).
  virtual Status swap_averages(Time deadline) = 0;

  /// Sets the rates of the optimizer's groups from the next step on (Rates::set); all workers set the same before the
  /// same step. Not within a step. Never blocks.
  virtual Status set_rates(std::span<const double> rates) = 0;

  /// Begins a step. Its number is the update's, from which owners compute the rate. facts: what all workers must agree on from this step on, or
  /// empty; compared with the other workers' by finish() (invalid). Never blocks.
  virtual Status begin(const Work& work, std::string_view facts) = 0;

  /// Contributes a gradient. `gradient.bytes` must stay readable and unchanged until finish() returns;
  /// `gradient.absent` is copied. Push each (part, bucket) exactly once a step, in any order. It may send, and never
  /// waits. No parameter changes before all have come, together with Gradient::ends or finish().
  virtual Status push(const Gradient& gradient) = 0;

  /// Ends the step, after this worker's last use of the parameters in backward. Returns when all new parameters are
  /// in parameters() and the gradients may be overwritten. Blocks until then, or until the exchange's own step
  /// deadline (peer_lost, naming who is missing). ends: one for each part. invalid: a gradient is not finite and the
  /// policy is stop; workers do not agree.
  virtual Result<StepOutcome> finish(std::span<const PartEnd> ends) = 0;

  /// Gives up a step that was begun and will not be finished. ok: it, or another step, may be begun with other
  /// gradients. invalid: a part of its gradients has gone to others, so the exchange cannot be used any more.
  virtual Status abandon() = 0;

  /// Returns what this process owns, to be read between steps, or written before the first. Empty where other
  /// processes own all.
  virtual std::vector<StatePiece> owned() = 0;
  /// Tells, before the first step, that so many updates were done, and that owned() and parameters() are as they were
  /// then.
  virtual void set_first(std::int64_t updates) = 0;

  /// Returns the bytes of memory that it holds beside the parameters (state, buffers), for the report.
  virtual std::size_t memory_bytes() const = 0;
};

}  // namespace cohaul::update
