#pragma once
// The zoo: models by name, each a module with its loss and metrics, its layers made by parallel's factory.

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

/// A model ready to train. Forward, and so loss and metrics, use the factory that made it.
struct Entry {
  std::shared_ptr<torch::nn::Module> module;
  Loss loss;                                                  // scalar: the mean over the batch
  std::vector<std::pair<std::string, data::Metric>> metrics;  // sums over a batch; without gradients
  NamedTensors parameters, buffers;                           // names as PyTorch's
  std::vector<parallel::SplitParameter> split;                // parameters of which this rank has a part
  std::function<void(bool)> train;                            // training mode on, off
};

/// A size of a model: its key below `model.`, its default and its bounds.
struct Size {
  std::string_view key;
  std::int64_t fallback, min, max;
  std::string_view what;
  bool of_data = false;  // it is the data's, not the user's
};

/// What a model must know of images and their labels.
struct DataShape {
  std::int64_t rows = 28, columns = 28, classes = 10;
};

/// Adds to `settings` the sizes that follow from the data, as far as the model has them. One that is given already stays.
void fit_to_data(ModelSettings& settings, const DataShape& data);

/// softmax: one linear layer. mlp: linear layers with ReLU between. cnn: two 5×5 convolutions with pooling, then two linear layers, of images of 4×4 pixels and more.
/// resnet18: He et al., "Deep Residual Learning for Image Recognition" (2015), in the form for small images: a 3×3 stem without pooling, four
/// stages of two basic blocks with batch norm, the mean over all pixels, one linear layer. Images are taken as they are: 28×28 pixels become
/// 14×14, 7×7 and 4×4. Names are torchvision's; layers start as LibTorch's do by default. deep: many linear layers with ReLU, with or
/// without residuals and layer norms (deep.cpp).
std::vector<std::string_view> names();
/// Empty for an unknown name.
std::vector<Size> sizes_of(std::string_view name);

/// Inputs float32 [n, 1, rows, columns] (softmax, mlp and deep: also [n, inputs]; resnet18: images of any size), targets int64 [n]. The factory must outlive the entry. With a tensor-parallel
/// factory every rank calls it with the same settings.
/// Errors: invalid (unknown name, listing the zoo; unknown size, out of bounds, unknown init), naming the key.
Result<Entry> make(const ModelSettings& settings, parallel::Factory& factory);

}  // namespace cohaul::model
