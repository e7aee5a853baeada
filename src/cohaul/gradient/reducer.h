#pragma once
// Reducer: between autograd and an Exchange. Hooks take each parameter's gradient as backward makes it; gradients of a part's slices are
// summed in the one tree order; a run whose gradients are complete is pushed while backward still goes on.

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/update/exchange.h"

namespace cohaul::gradient {

/// Reducers made in this process so far: while it stays the same, no parameter has changed hands.
std::uint64_t reducers_made();

/// Bytes that a reducer needs to put gradients of small runs together, for a worker that contributes so many parts to a step.
std::size_t small_bytes(const update::Layout& layout, std::size_t parts);

class Reducer {
 public:
  /// parameters: the layout's by their index there, each a different tensor; undefined where the layout's entry is not trained. They are
  /// given hooks, which do nothing but within backward(). A parameter that a newer reducer was made of belongs to that one. layout and exchange outlive
  /// the reducer, as does `small`, which has small_bytes(): where gradients of small runs are put together.
  Reducer(const update::Layout& layout, std::vector<at::Tensor> parameters, update::Exchange& exchange, Bytes small);
  ~Reducer();

  /// By index in the layout.
  const std::vector<at::Tensor>& parameters() const;
  /// Whether the parameter still belongs to this reducer.
  bool owns(std::int32_t parameter) const;

  /// A step begins: this worker computes these slices of it, in their order.
  void begin(const update::SliceRange& slices);
  /// Clears the parameters' `.grad`, runs backward of `loss` from `share`, and takes the gradients. After the last slice of a part all its runs are
  /// pushed. samples: of the part so far, as Gradient::samples. ends: of a step's last slice, what finish() will be told; or empty. They go with the
  /// last gradients where backward has nothing more to do after them. Errors: unsupported (a sparse gradient, one that changes after it was
  /// pushed), and the exchange's. What backward throws passes through; then abandon() is due.
  Status backward(const at::Tensor& loss, const at::Tensor& share, double samples,
                  std::span<const update::PartEnd> ends = {});
  /// After the exchange's finish(): gives the gradients' memory back.
  void release();
  /// Forgets the gradients of the step so far.
  void abandon();
  /// In the last step: whether a parameter got no gradient from this worker's slices.
  bool was_absent(std::int32_t parameter) const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // hooks may outlive the reducer: they hold it weakly
};

}  // namespace cohaul::gradient
