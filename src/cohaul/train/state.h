#pragma once
// A model as the trainer sees it: names and tensors. Parameters become views of the exchange's flat area.

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/parallel/split.h"
#include "cohaul/update/layout.h"

namespace cohaul::train {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

struct Model {
  NamedTensors parameters, buffers;             // names as PyTorch gives them
  std::function<void(bool)> train;              // training mode on, off
  std::vector<parallel::SplitParameter> split;  // parameters of which this worker has a part

  /// How a parameter is split; null: this worker has the whole.
  const parallel::SplitParameter* split_of(const std::string& name) const;
};

/// Of whatever has named_parameters(), named_buffers() and train(bool) behind `->`: a TORCH_MODULE holder or a shared_ptr, of which a copy is kept.
template <class Net>
Model model_of(Net net) {
  Model m;
  for (const auto& item : net->named_parameters()) m.parameters.emplace_back(item.key(), item.value());
  for (const auto& item : net->named_buffers()) m.buffers.emplace_back(item.key(), item.value());
  m.train = [net](bool on) mutable { net->train(on); };
  return m;
}

/// Parameters first, then buffers as frozen entries (of a type that the layout does not know: as its bytes).
/// Errors: unsupported (a parameter that is not dense float32 or float64 on the CPU), naming it.
Result<update::Layout> layout_of(const Model& model);

/// Copies parameters and buffers into the flat area.
void copy_to(const Model& model, const update::Layout& layout, Bytes flat);
/// Makes the parameters views of the flat area, with its content; copies buffers out of it.
void adopt(const Model& model, const update::Layout& layout, Bytes flat);

/// Copies tensors of a safetensors file into the model. Every parameter must be there, with its (whole) shape and type, and nothing that the model
/// does not have; buffers may be missing. Errors: invalid, naming file and tensor.
Status load(const Model& model, const std::string& path);

/// Parameters whole (parts gathered: then every worker must call), contiguous, on this worker.
Result<NamedTensors> whole_parameters(const Model& model, collective::Group* group);
/// Writes parameters and buffers.
Status save(const std::string& path, const NamedTensors& parameters, const NamedTensors& buffers);
/// Of whole parameters.
std::string sha256(const NamedTensors& parameters);

}  // namespace cohaul::train
