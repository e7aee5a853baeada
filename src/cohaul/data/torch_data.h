#pragma once
// Adapts the map-style data sets of torch::data to DataSet. It does not include torch::data, which is slow to compile; a program that has such a set
// has done so.

#include <ATen/ops/stack.h>

#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "cohaul/data/data_set.h"

namespace cohaul::data {

/// Owns a torch::data::datasets set whose examples are pairs of tensors (data, target), already stacked (.map(Stack<>())) or not. Set::size() must
/// have a value. get() calls Set::get_batch, which must be thread-safe if several threads call get().
template <class Set>
class TorchData : public DataSet {
 public:
  explicit TorchData(Set set) : set_(std::move(set)) {
    if (!set_.size().has_value())
      throw std::invalid_argument(
          "a torch::data set without a size; only map-style sets with a size can be drawn from");
  }
  std::int64_t size() const override { return static_cast<std::int64_t>(set_.size().value()); }
  Batch get(std::span<const std::int64_t> indices) const override {
    std::vector<std::size_t> rows;
    for (std::int64_t i : indices) {
      if (i < 0 || i >= size())
        throw std::out_of_range("sample " + std::to_string(i) + " of a data set of " + std::to_string(size()));
      rows.push_back(static_cast<std::size_t>(i));
    }
    auto examples = set_.get_batch(rows);
    if constexpr (requires { examples.data.dim(); }) {
      return {examples.data, examples.target};
    } else {
      std::vector<at::Tensor> input, target;
      for (auto& example : examples) {
        input.push_back(example.data);
        target.push_back(example.target);
      }
      return {at::stack(input), at::stack(target)};
    }
  }

 private:
  mutable Set set_;  // because torch's get_batch is not const
};

}  // namespace cohaul::data
