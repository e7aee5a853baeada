#pragma once
// Looks at autograd's graph of a loss.

#include <ATen/core/Tensor.h>

#include <functional>

namespace cohaul::gradient {

struct Graph {
  /// It has a torch::autograd::Function of the user's. Such a function may run backward inside backward (as activation checkpointing does), and then
  /// a parameter's gradient comes in several pieces. Then the other field is not determined.
  bool has_own_functions = false;
  /// Every path ends in a leaf for which is_known returns true, and no hook of the user runs after that leaf's gradient is there. So backward is done
  /// when the gradients of all these leaves are there.
  bool ends_in_known_leaves = false;
};

/// Walks the graph of `loss`. Takes about 50 ns a node.
Graph look_at_graph(const at::Tensor& loss, const std::function<bool(const at::Tensor&)>& is_known);

}  // namespace cohaul::gradient
