#pragma once
// Reducer: between autograd and an Exchange. Hooks note each parameter's gradient as backward makes it; gradients of a step's
// slices are summed in the one tree order; a run whose gradients are complete is pushed while backward still goes on.

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/transport/arena.h"
#include "cohaul/update/exchange.h"

namespace cohaul::gradient {

class Reducer {
 public:
  /// parameters: the layout's trainable ones by their index there (undefined tensors elsewhere); they are given hooks, which do
  /// nothing while no slice is open. layout and exchange outlive the reducer; `small` has Layout::bytes() bytes: where gradients of small
  /// runs are put together (pages of large ones stay untouched).
  Reducer(const update::Layout& layout, std::vector<at::Tensor> parameters, update::Exchange& exchange, Bytes small);
  ~Reducer();

  /// Opens the i-th of `slices` slices that this worker sums in this step. Gradients that backward makes from now on are taken, and
  /// `.grad` is left undefined.
  void open_slice(int i, int slices);
  /// After backward. Of the last slice: pushes what is left (parameters without a gradient as absent).
  Status close_slice();
  /// After the exchange's finish(): gives the gradients' memory back.
  void release();

 private:
  struct State;
  std::shared_ptr<State> state_;  // hooks may outlive the reducer: they hold it weakly
};

}  // namespace cohaul::gradient
