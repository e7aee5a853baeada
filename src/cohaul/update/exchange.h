#pragma once
// The seam of all strategies that keep parameters consistent: this worker's gradients go in, new parameters come out.
// Who sums, who applies the rule and where the optimizer's state lives is the backend's: this process (local), the
// ranks of a group (collective), the servers (ps).

#include <cstdint>
#include <span>

#include "cohaul/base/bytes.h"
#include "cohaul/base/clock.h"
#include "cohaul/base/ids.h"
#include "cohaul/base/status.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/rule.h"

namespace cohaul::update {

/// Slices [first, last) of a step's `count` slices.
struct SliceRange {
  std::int32_t first = 0, last = 1, count = 1;
  bool operator==(const SliceRange&) const = default;
};

/// What a worker computes next.
struct Work {
  Step step;  // from 0
  SliceRange slices;
};

/// Steps [first, end), counted since the start, and which of its updates are worth telling: every report_every-th, and the last.
struct Loop {
  std::int64_t first = 0, end = 0;
  std::int64_t report_every = 0;  // 0: none
};

/// What came of a step.
struct StepOutcome {
  double loss = 0;       // over the whole batch of the step
  double staleness = 0;  // of this push: the maximum over partitions (asynchronous modes)
};

/// One thread uses an Exchange (the one that trains). Errors are sticky: after one, every call returns it again.
class Exchange {
 public:
  virtual ~Exchange() = default;

  /// The flat area (Layout::bytes()) that the model's parameters are views of. Lives as long as the exchange. May be
  /// shared by the processes of a host: only the exchange writes it after start().
  virtual Bytes parameters() = 0;

  /// Makes worker 0's current content of parameters() everybody's. Blocks until all have it, or `deadline`.
  virtual Status start(Time deadline) = 0;

  /// Begins a step. Never blocks.
  virtual Status begin(const Work& work, const StepSettings& settings) = 0;

  /// The gradient of one run is complete (summed over this worker's slices of the step): `gradient` has Run::bytes
  /// bytes and stays readable and unchanged until finish() returns. Each run exactly once a step, in any order. May
  /// send and may do what is possible of the exchange's own work; never waits. absent: parameters of the run that got
  /// no gradient here, ascending; their bytes are zeros. Copied.
  virtual Status push(std::int32_t run, ConstBytes gradient, std::span<const std::int32_t> absent) = 0;

  /// Ends the step: returns when all new parameters are in parameters() and the gradients may be overwritten. Blocks
  /// until then, or until the exchange's own step deadline (peer_lost, naming who is missing). loss: this worker's
  /// share of the batch's mean loss (Σ n_v/B · loss_v, summed in tree order).
  virtual Result<StepOutcome> finish(double loss) = 0;

  /// Bytes of memory it holds beside the parameters (state, buffers): for the report.
  virtual std::size_t memory_bytes() const = 0;
};

}  // namespace cohaul::update
