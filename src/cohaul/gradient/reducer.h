#pragma once
// Reducer: takes gradients from autograd and gives them to an Exchange. Hooks take each parameter's gradient when backward has computed it. Gradients
// of several slices are summed in tree order. A bucket whose gradients are complete is pushed while backward is still going on.

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/update/exchange.h"

namespace cohaul::gradient {

/// Returns how many reducers have been made in this process. While it stays the same, every parameter still belongs to the same reducer.
std::uint64_t reducers_made();

/// Returns how many bytes a reducer needs for the gradients of small buckets, for a worker that contributes so many parts to a step.
std::size_t small_bytes(const update::Layout& layout, std::size_t parts);

class Reducer {
 public:
  /// Installs hooks on the parameters; they do nothing outside of backward(). parameters: by index in the layout, each a different tensor, undefined
  /// where the layout's entry is not trained. A parameter always belongs to the newest reducer that was made of it. small: memory of small_bytes()
  /// for gradients of small buckets. layout, exchange and small must outlive the reducer.
  Reducer(const update::Layout& layout, std::vector<at::Tensor> parameters, update::Exchange& exchange, Bytes small);
  ~Reducer();

  /// Returns the parameters by index in the layout.
  const std::vector<at::Tensor>& parameters() const;
  /// Returns whether the parameter still belongs to this reducer.
  bool owns(std::int32_t parameter) const;

  /// Begins a step of which this worker computes these slices, in their order.
  void begin(const update::SliceRange& slices);
  /// Clears the parameters' `.grad`, runs backward of `loss` scaled by `weight` (the slice's fraction of the batch), and takes the gradients. After
  /// the last slice of a part all its buckets have been pushed. samples: of the part so far, as in Gradient::samples. ends: for a step's last slice,
  /// what finish() will be given, or empty; they are sent with the last gradients if the graph shows that nothing follows them.
  /// Errors: unsupported (a sparse gradient, or one that changes after it was pushed), and the exchange's. Exceptions of backward pass through; the
  /// caller must then call abandon().
  Status backward(const at::Tensor& loss, const at::Tensor& weight, double samples,
                  std::span<const update::PartEnd> ends = {});
  /// Frees the gradients' memory, after the exchange's finish().
  void release();
  /// Discards the gradients of the step so far.
  void abandon();
  /// Returns whether the parameter got no gradient from this worker's slices in the last step.
  bool was_absent(std::int32_t parameter) const;

 private:
  struct State;
  std::shared_ptr<State> state_;  // hooks may outlive the reducer, so they have weak pointers to it
};

}  // namespace cohaul::gradient
