#pragma once
// What a trainer must know of a model: its tensors by name, and how to switch it between training and evaluation.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "cohaul/parallel/split.h"
#include "cohaul/parallel/whole_batch.h"

namespace cohaul::train {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

struct Model {
  NamedTensors parameters, buffers;             // names as in PyTorch; a tied parameter may appear under several names
  std::function<void(bool)> train;              // switches all modules to training (true) or evaluation (false)
  std::vector<parallel::SplitParameter> split;  // parameters of which this worker has a part
  /// It has a layer that needs the whole batch of a step (parallel::WholeBatch): one slice a worker.
  bool whole_batch = false;
  /// Puts all modules into evaluation mode, and returns a function that puts each back into the mode that it had. If empty, train(false) and then
  /// train(true) are called.
  std::function<std::function<void()>()> evaluation;

  /// Returns how a parameter is split over the workers; null: this worker has the whole parameter.
  const parallel::SplitParameter* split_of(const std::string& name) const;
};

/// What happens to a model's buffers (running means, counters) in a synchronous step. All slices of a step start from the same values.
/// mean: a float32 or float64 buffer becomes the mean of the values that the slices leave, summed in tree order, so the result has the same bits for
///   any number of workers. Other buffers must have the same values after all slices.
/// worker0: all workers take the values that slice 0 leaves, which is the first slice of worker 0.
/// own: each worker keeps the values that its last slice leaves; worker 0's are saved. Asynchronous modes always do this.
enum class Buffers : std::uint8_t { mean, worker0, own };
constexpr std::string_view name(Buffers what) {
  return what == Buffers::mean ? "mean" : what == Buffers::worker0 ? "worker0" : "own";
}

/// Does what Model::evaluation does, for one module and all modules below it. The module must outlive the returned function.
template <class Module>
std::function<void()> evaluate_modules(Module& module) {
  std::vector<std::pair<std::shared_ptr<std::remove_cvref_t<decltype(*module.modules(false).front())>>, bool>> before;
  for (const auto& m : module.modules(/*include_self=*/false)) before.emplace_back(m, m->is_training());
  const bool own = module.is_training();
  module.eval();
  return [&module, own, before] {
    module.train(own);
    for (const auto& [m, on] : before) m->train(on);  // outer ones first: each sets those below it, which come later
  };
}

template <class Module>
bool is_of_whole_batch(const Module& module) {
  if constexpr (std::is_base_of_v<parallel::WholeBatch, Module>) return true;
  else if constexpr (std::is_polymorphic_v<Module>)
    return dynamic_cast<const parallel::WholeBatch*>(&module) != nullptr;
  else return false;
}

/// Returns the Model of `net`. A TORCH_MODULE holder or a shared_ptr (anything with named_parameters(), named_buffers() and train(bool) behind `->`)
/// is copied into it. A torch::nn::Module itself is referred to and must outlive the result.
template <class Net>
Model model_of(Net&& net) {
  constexpr bool kIsModule = requires { net.named_parameters(); };
  constexpr bool kIsHolder = requires { net->named_parameters(); };
  static_assert(
      kIsModule || kIsHolder,
      "a trainer takes a TORCH_MODULE holder, a shared_ptr to a module, a module, or a cohaul::Model of your tensors");
  Model m;
  const auto fill = [&m](auto& module) {
    for (const auto& item : module.named_parameters()) m.parameters.emplace_back(item.key(), item.value());
    for (const auto& item : module.named_buffers()) m.buffers.emplace_back(item.key(), item.value());
    m.whole_batch |= is_of_whole_batch(module);
    for (const auto& below : module.modules(/*include_self=*/false)) m.whole_batch |= is_of_whole_batch(*below);
  };
  if constexpr (kIsModule) {
    static_assert(std::is_lvalue_reference_v<Net>, "a module that is a temporary would be gone before it is trained");
    fill(net);
    m.train = [&net](bool on) { net.train(on); };
    m.evaluation = [&net] { return evaluate_modules(net); };
  } else if constexpr (kIsHolder) {
    std::remove_cvref_t<Net> kept(std::forward<Net>(net));
    fill(*kept);
    m.train = [kept](bool on) mutable { kept->train(on); };
    m.evaluation = [kept]() mutable { return [kept, back = evaluate_modules(*kept)] { back(); }; };
  }
  return m;
}

/// Puts the model into evaluation mode; its destructor puts each module back into the mode that it had.
class EvaluationMode {
 public:
  explicit EvaluationMode(const Model& model);
  ~EvaluationMode() { back_(); }
  EvaluationMode(const EvaluationMode&) = delete;

 private:
  std::function<void()> back_;
};

}  // namespace cohaul::train
