#pragma once
// Functions of the user's own in autograd's graph.

#include <ATen/core/Tensor.h>

namespace cohaul::gradient {

/// Whether the graph of `loss` has a torch::autograd::Function of the user's own. Such a function may run backward inside backward (as one
/// that recomputes its forward does), and then a parameter's gradient comes in several pieces. Takes about 50 ns a node.
bool may_run_backward_inside(const at::Tensor& loss);

}  // namespace cohaul::gradient
