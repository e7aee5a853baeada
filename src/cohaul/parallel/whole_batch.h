#pragma once

namespace cohaul::parallel {

/// A module whose forward, in training, uses the whole batch of a step: every worker must call it once for each step. A trainer refuses such a model
/// where a worker has several slices of a step, or steps of its own (asynchronous modes).
class WholeBatch {
 public:
  virtual ~WholeBatch() = default;
};

}  // namespace cohaul::parallel
