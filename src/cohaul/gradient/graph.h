#pragma once
// What autograd's graph of a loss is made of.

#include <ATen/core/Tensor.h>

#include <functional>

namespace cohaul::gradient {

struct Graph {
  /// It has a torch::autograd::Function of the user's own. Such a function may run backward inside backward (as one that recomputes its forward
  /// does), and then a parameter's gradient comes in several pieces. What follows is not known then.
  bool has_own_functions = false;
  /// Every path of it ends in a leaf that is_known, and nobody's hook runs after that leaf's gradient is there. So backward has nothing more to do
  /// when the gradients of all these leaves are there.
  bool ends_in_known_leaves = false;
};

/// Takes about 50 ns a node.
Graph look_at_graph(const at::Tensor& loss, const std::function<bool(const at::Tensor&)>& is_known);

}  // namespace cohaul::gradient
