#include "cohaul/gradient/reducer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
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

TEST_F(Reduced, AParameterUsedTwiceHasOneGradient) {
  ASSERT_TRUE(exchange_->begin({}, {1.0}).ok());
  reducer_->open_slice(0, 1);
  ((parameters_[0] * 3).sum() + (parameters_[0] * 4).sum() + parameters_[1].sum()).backward();
  ASSERT_TRUE(reducer_->close_slice().ok());
  ASSERT_TRUE(exchange_->finish(0).ok());
  EXPECT_EQ(value(0), -7);
  EXPECT_EQ(value(1), -1) << "the gradient of a sum is one number, expanded";
}

TEST_F(Reduced, BackwardOutsideAStepIsTheUsers) {
  (parameters_[0] * 3).sum().backward();
  ASSERT_TRUE(parameters_[0].grad().defined());
  EXPECT_EQ(parameters_[0].grad()[0].item<float>(), 3);
  parameters_[0].mutable_grad() = at::Tensor();
  step({{1, 1}});
  EXPECT_EQ(value(0), -1);
}

/// Notes when runs are pushed; sends nothing.
class Noted final : public update::Exchange {
 public:
  explicit Noted(std::vector<std::string>& events) : events_(events) {}
  Bytes parameters() override { return {}; }
  Status start(Time) override { return {}; }
  Status begin(const update::Work&, const update::StepSettings&) override { return {}; }
  Status push(std::int32_t run, ConstBytes, std::span<const std::int32_t>) override {
    events_.push_back("push " + std::to_string(run));
    return run == refused ? peer_lost("worker 1") : Status{};
  }
  Result<update::StepOutcome> finish(double) override { return update::StepOutcome(); }
  std::size_t memory_bytes() const override { return 0; }

  std::int32_t refused = -1;

 private:
  std::vector<std::string>& events_;
};

/// Three layers of a large parameter each: y = c·(b·(a·x)). Backward comes to c first.
class Overlap : public testing::Test {
 protected:
  Overlap()
      : layout_(*update::Layout::of({{"a", {kWide}}, {"b", {kWide}}, {"c", {kWide}}})),
        small_(*transport::Arena::create("cohaul test", layout_.bytes())),
        exchange_(events_) {
    for (int i = 0; i < 3; ++i) parameters_.push_back(at::ones({kWide}).requires_grad_());
    reducer_ = std::make_unique<Reducer>(layout_, parameters_, exchange_, small_.bytes());
  }
  Status slice(int i, int slices) {
    reducer_->open_slice(i, slices);
    at::Tensor y = at::ones({kWide}).requires_grad_();
    for (std::size_t layer = 0; layer < 3; ++layer) {
      y.register_hook(
          [this, layer](const at::Tensor&) { events_.push_back("backward through " + std::to_string(layer)); });
      y = y * parameters_[layer];
    }
    y.sum().backward();
    events_.push_back("backward has ended");
    return reducer_->close_slice();
  }

  static constexpr std::int64_t kWide = update::kLargeBytes / sizeof(float);
  std::vector<std::string> events_;
  update::Layout layout_;
  transport::Arena small_;
  Noted exchange_;
  std::vector<at::Tensor> parameters_;
  std::unique_ptr<Reducer> reducer_;
};

TEST_F(Overlap, ARunIsPushedWhileBackwardStillRuns) {
  ASSERT_EQ(layout_.runs().size(), 3u);
  ASSERT_TRUE(slice(0, 1).ok());
  auto at = [&](const std::string& event) {
    return std::find(events_.begin(), events_.end(), event) - events_.begin();
  };
  EXPECT_LT(at("push 2"), at("backward through 1"));
  EXPECT_LT(at("push 1"), at("backward through 0"));
  EXPECT_LT(at("push 0"), at("backward has ended"));
}

TEST_F(Overlap, OnlyTheLastSliceIsPushed) {
  ASSERT_TRUE(slice(0, 2).ok());
  EXPECT_EQ(std::count(events_.begin(), events_.end(), "push 2"), 0);
  ASSERT_TRUE(slice(1, 2).ok());
  for (const char* push : {"push 0", "push 1", "push 2"})
    EXPECT_EQ(std::count(events_.begin(), events_.end(), push), 1);
}

TEST_F(Overlap, AFailedPushEndsTheStepNotTheProcess) {
  exchange_.refused = 2;
  EXPECT_EQ(slice(0, 1).code(), Code::peer_lost);
  EXPECT_EQ(std::count(events_.begin(), events_.end(), "push 1"), 0) << "nothing more is sent";
}

}  // namespace
}  // namespace cohaul::gradient
