#pragma once
// torch::data's map-style sets as a DataSet. Includes none of torch::data: whoever has such a set has.

#include <ATen/ops/stack.h>

#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "cohaul/data/data_set.h"

namespace cohaul::data {

/// Owns a torch::data::datasets set whose examples are pairs of tensors (data, target), stacked already (.map(Stack<>())) or not.
/// Set::size() must be known. get() calls Set::get_batch, which is the set's own to make safe for several threads.
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
  mutable Set set_;  // get_batch is not const there
};

}  // namespace cohaul::data
