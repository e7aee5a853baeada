#pragma once
// For tests: a data set, and the code of the error that a call throws.

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>

#include <functional>
#include <string>
#include <vector>

#include "cohaul/data/data_set.h"
#include "cohaul/train/error.h"

namespace cohaul::train {

/// y = x·w with a known w, which training should find.
class Line final : public data::DataSet {
 public:
  explicit Line(std::int64_t n) : input_(at::arange(3 * n, at::kFloat).reshape({n, 3}).sin()) {
    target_ = at::matmul(input_, at::full({3, 1}, 2.0, at::kFloat));
  }
  std::int64_t size() const override { return input_.size(0); }
  data::Batch get(std::span<const std::int64_t> indices) const override {
    std::vector<at::Tensor> x, y;
    for (std::int64_t i : indices) x.push_back(input_[i]), y.push_back(target_[i]);
    return {at::stack(x), at::stack(y)};
  }

 private:
  at::Tensor input_, target_;
};

inline Code code_of(const std::function<void()>& f, std::string* why = nullptr) {
  try {
    f();
  } catch (const Error& e) {
    if (why) *why = e.what();
    return e.code();
  }
  return Code::ok;
}

}  // namespace cohaul::train
