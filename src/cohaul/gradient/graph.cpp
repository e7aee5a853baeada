#include "cohaul/gradient/graph.h"

#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>

#include <cstring>
#include <typeinfo>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace cohaul::gradient {
namespace {

using torch::autograd::Node;

/// Returns whether the node is a function of the user's. Such a node's class is a template over a type of the user's, which those of autograd are
/// not.
bool is_own(const Node& node) {
  // By address, because a type_index would hash the name.
  thread_local std::unordered_map<const std::type_info*, bool> known;
  const std::type_info& type = typeid(node);
  auto [it, is_new] = known.try_emplace(&type, false);
  if (is_new) {
    const bool is_function =
        std::strstr(type.name(), "CppNode") != nullptr || std::strstr(type.name(), "PyNode") != nullptr;
    // Functions of Cohaul's own layers do not run backward inside backward.
    it->second = is_function && std::strstr(type.name(), "6cohaul8parallel") == nullptr;
  }
  return it->second;
}

bool is_known_leaf(Node& node, const std::function<bool(const at::Tensor&)>& is_known) {
  if (typeid(node) != typeid(torch::autograd::AccumulateGrad)) return false;
  return node.post_hooks().empty() && is_known(static_cast<torch::autograd::AccumulateGrad&>(node).variable);
}

}  // namespace

Graph look_at_graph(const at::Tensor& loss, const std::function<bool(const at::Tensor&)>& is_known) {
  thread_local std::vector<const Node*> open;
  thread_local std::unordered_set<const Node*> seen;
  open.clear(), seen.clear();
  if (!loss.grad_fn()) return {};
  bool ends_in_known = true;
  open.push_back(loss.grad_fn().get());
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (!seen.insert(node).second) continue;
    if (is_own(*node)) return {.has_own_functions = true};
    bool leads_on = false;
    for (const auto& edge : node->next_edges()) {
      if (!edge.function) continue;
      leads_on = true;
      if (edge.function->num_outputs() > 0) open.push_back(edge.function.get());
      else if (ends_in_known) ends_in_known = is_known_leaf(*edge.function, is_known);
    }
    if (!leads_on) ends_in_known = false;
  }
  return {.ends_in_known_leaves = ends_in_known};
}

}  // namespace cohaul::gradient
