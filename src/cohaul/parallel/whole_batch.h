#pragma once

namespace cohaul::parallel {

/// A module whose forward, in training, is of the whole batch of a step: every worker calls it once for each step. A trainer refuses its model
/// where workers have several slices of a step, or steps of their own.
class WholeBatch {
 public:
  virtual ~WholeBatch() = default;
};

}  // namespace cohaul::parallel
