#include "cohaul/gradient/reducer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "cohaul/update/local_exchange.h"

namespace cohaul::gradient {
namespace {

/// Two parameters of 8 elements under plain SGD with lr = 1: a parameter moves by minus its summed gradient.
class Reduced : public testing::Test {
 protected:
  Reduced()
      : layout_(*update::Layout::of({{"a", {8}}, {"b", {8}}})),
        memory_(*transport::Arena::create("cohaul test", 2 * layout_.bytes())),
        flat_(memory_.bytes().first(layout_.bytes())),
        small_(memory_.bytes().last(layout_.bytes())) {
    exchange_ = update::make_local_exchange(layout_, {}, flat_);
    for (std::int32_t p : {0, 1})
      parameters_.push_back(at::from_blob(flat_.data() + layout_.offset(p), {8}, at::kFloat).requires_grad_());
    reducer_ = std::make_unique<Reducer>(layout_, parameters_, *exchange_, small_);
  }

  /// One step. slices[i]: the gradients of a and of b in slice i; 0: none at all.
  void step(const std::vector<std::pair<float, float>>& slices) {
    ASSERT_TRUE(exchange_->begin({}, {1.0}).ok());
    for (std::size_t i = 0; i < slices.size(); ++i) {
      reducer_->open_slice(static_cast<int>(i), static_cast<int>(slices.size()));
      at::Tensor loss = at::full({}, 0.0, at::kFloat).requires_grad_();
      if (slices[i].first != 0) loss = loss + (parameters_[0] * at::Scalar(slices[i].first)).sum();
      if (slices[i].second != 0) loss = loss + (parameters_[1] * at::Scalar(slices[i].second)).sum();
      loss.backward();
      ASSERT_TRUE(reducer_->close_slice().ok());
      EXPECT_FALSE(parameters_[0].grad().defined());
    }
    ASSERT_TRUE(exchange_->finish(0).ok());
    reducer_->release();
  }
  float value(std::int32_t p) const {
    float v = 0;
    std::memcpy(&v, flat_.data() + layout_.offset(p), sizeof v);
    return v;
  }

  update::Layout layout_;
  transport::Arena memory_;  // the parameters' flat area, then the small gradients: both start on 64 bytes
  Bytes flat_, small_;
  std::unique_ptr<update::Exchange> exchange_;
  std::vector<at::Tensor> parameters_;
  std::unique_ptr<Reducer> reducer_;
};

TEST_F(Reduced, SumsSlices) {
  step({{1, 10}, {2, 20}, {4, 40}, {8, 80}});
  EXPECT_EQ(value(0), -15);
  EXPECT_EQ(value(1), -150);
}

TEST_F(Reduced, ASliceWithoutAGradientLosesNoOther) {
  step({{1, 10}, {2, 0}, {4, 40}, {8, 0}});
  EXPECT_EQ(value(0), -15);
  EXPECT_EQ(value(1), -50);
  step({{1, 0}, {0, 20}, {4, 0}});
  EXPECT_EQ(value(0), -20);
  EXPECT_EQ(value(1), -70);
}

TEST_F(Reduced, AParameterWithoutAnyGradientStays) {
  step({{0, 10}, {0, 20}});
  EXPECT_EQ(value(0), 0);
  EXPECT_EQ(value(1), -30);
}

}  // namespace
}  // namespace cohaul::gradient
