#pragma once
// The zoo: models by name. Each is a module with its loss and metrics; parallel::Factory makes the layers, so that some can be split over workers.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/data/accuracy.h"
#include "cohaul/model/settings.h"
#include "cohaul/parallel/factory.h"
#include "cohaul/parallel/split.h"

namespace torch::nn {
class Module;
}

namespace cohaul::model {

using Loss = std::function<at::Tensor(const data::Batch&)>;
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// A model that is ready to train. Forward, loss and metrics use the factory that made the model.
struct Entry {
  std::shared_ptr<torch::nn::Module> module;
  Loss loss;                                                  // scalar: the mean over the batch
  std::vector<std::pair<std::string, data::Metric>> metrics;  // return sums over a batch, without gradients
  NamedTensors parameters, buffers;                           // names as in PyTorch
  std::vector<parallel::SplitParameter> split;                // parameters of which this rank has a part
  std::function<void(bool)> train;  // switches all modules to training (true) or evaluation (false)
};

/// A size that can be set of a model: its key within [model], its default, its bounds and its description.
struct Size {
  std::string_view key;
  std::int64_t fallback, min, max;
  std::string_view what;
  bool of_data = false;  // true: the data determines it, not the user
};

/// The size of images in pixels, and the number of classes.
struct DataShape {
  std::int64_t rows = 28, columns = 28, classes = 10;
};

/// Adds to `settings` those sizes of the model that the data determines. Sizes that are set already stay.
void fit_to_data(ModelSettings& settings, const DataShape& data);

/// Returns the names of the models:
/// softmax: one linear layer.
/// mlp: linear layers with ReLU between them.
/// cnn: two 5×5 convolutions with pooling, then two linear layers, for images of 4×4 pixels and more.
/// resnet18: He et al., "Deep Residual Learning for Image Recognition" (2015), in the form for small images: a 3×3 stem without pooling, four stages of
///   two basic blocks with batch norm, the mean over all pixels, one linear layer. 28×28 pixels become 14×14, 7×7 and 4×4. Parameters have
///   torchvision's names, and LibTorch's default initialisation.
/// deep: many linear layers with ReLU, with or without residuals and layer norms (deep.cpp).
std::vector<std::string_view> names();
/// Returns the sizes that the model has; empty for an unknown name.
std::vector<Size> sizes_of(std::string_view name);

/// Makes a model. Its inputs are float32 [n, 1, rows, columns] (softmax, mlp and deep also take [n, inputs]; resnet18 takes images of any size), its
/// targets int64 [n]. The factory must outlive the entry. With a tensor-parallel factory every rank calls it with the same settings. Errors: invalid
/// (unknown name, listing the zoo; unknown size, out of bounds, unknown init), naming the key.
Result<Entry> make(const ModelSettings& settings, parallel::Factory& factory);

}  // namespace cohaul::model
