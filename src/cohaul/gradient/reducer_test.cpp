#include "cohaul/gradient/reducer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "cohaul/gradient/graph.h"
#include "cohaul/transport/arena.h"
#include "cohaul/update/local_exchange.h"

namespace cohaul::gradient {
namespace {

/// Two parameters of 8 elements under plain SGD with lr = 1: a parameter moves by minus its summed gradient.
class Reduced : public testing::Test {
 protected:
  Reduced()
      : layout_(*update::Layout::of({{"a", {8}}, {"b", {8}}})),
        memory_(*transport::Arena::create("cohaul test", 4 * layout_.bytes())),
        flat_(memory_.bytes().first(layout_.bytes())),
        small_(memory_.bytes().last(3 * layout_.bytes())) {
    exchange_ = update::make_local_exchange(layout_, update::RuleSettings{.lr = 1}, {}, flat_);
    for (std::int32_t p : {0, 1})
      parameters_.push_back(at::from_blob(flat_.data() + layout_.offset(p), {8}, at::kFloat).requires_grad_());
    reducer_ = std::make_unique<Reducer>(layout_, parameters_, *exchange_, small_);
  }

  /// Does one step. slices[i]: the gradients of a and b in slice i; 0: no gradient.
  void step(const std::vector<std::pair<float, float>>& slices) {
    begin(static_cast<std::int32_t>(slices.size()));
    for (const auto& [of_a, of_b] : slices) {
      at::Tensor loss = at::full({}, 0.0, at::kFloat).requires_grad_();
      if (of_a != 0) loss = loss + (parameters_[0] * at::Scalar(of_a)).sum();
      if (of_b != 0) loss = loss + (parameters_[1] * at::Scalar(of_b)).sum();
      ASSERT_TRUE(backward(loss).ok());
      EXPECT_FALSE(parameters_[0].grad().defined());
    }
    finish();
  }
  void begin(std::int32_t slices) {
    ASSERT_TRUE(exchange_->begin({{}, {0, slices, slices}}, {}).ok());
    reducer_->begin({0, slices, slices});
  }
  Status backward(const at::Tensor& loss) { return reducer_->backward(loss, at::ones({}, loss.options()), 0); }
  void finish() {
    const update::PartEnd end;
    ASSERT_TRUE(exchange_->finish({&end, 1}).ok());
    reducer_->release();
  }
  float value(std::int32_t p) const {
    float v = 0;
    std::memcpy(&v, flat_.data() + layout_.offset(p), sizeof v);
    return v;
  }

  update::Layout layout_;
  transport::Arena memory_;  // the parameters' flat area, then the small gradients, both aligned to 64 bytes
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
  begin(1);
  ASSERT_TRUE(backward((parameters_[0] * 3).sum() + (parameters_[0] * 4).sum() + parameters_[1].sum()).ok());
  finish();
  EXPECT_EQ(value(0), -7);
  EXPECT_EQ(value(1), -1) << "the gradient of a sum is one number, expanded";
}

TEST_F(Reduced, AGradientLeftOverEntersNoStep) {
  (parameters_[0] * 3).sum().backward();
  ASSERT_TRUE(parameters_[0].grad().defined());
  EXPECT_EQ(parameters_[0].grad()[0].item<float>(), 3);
  step({{1, 1}});
  EXPECT_EQ(value(0), -1);
}

/// y = 2x, whose backward runs a backward of its own through the parameter, as a layer that recomputes its forward does.
struct Recomputed : torch::autograd::Function<Recomputed> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, at::Tensor x, at::Tensor parameter) {
    context->saved_data["parameter"] = parameter;
    return x * 2;
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               torch::autograd::tensor_list gradients) {
    at::AutoGradMode on(true);
    (context->saved_data["parameter"].toTensor() * 3).sum().backward();
    return {gradients[0] * 2, at::Tensor()};
  }
};

TEST_F(Reduced, BackwardWithinBackwardLosesNothing) {
  for (int slices : {1, 2}) {
    const float before = value(0);
    begin(slices);
    for (int v = 0; v < slices; ++v) {
      at::Tensor x = at::ones({8}).requires_grad_();
      at::Tensor twice = Recomputed::apply(Recomputed::apply(x, parameters_[0]), parameters_[0]);
      EXPECT_TRUE(look_at_graph(twice.sum(), [](const at::Tensor&) { return true; }).has_own_functions);
      ASSERT_TRUE(backward(twice.sum() + (parameters_[0] * 5).sum()).ok());
    }
    finish();
    EXPECT_EQ(value(0), before - 11 * static_cast<float>(slices)) << "3 and 3 from within, 5 from without";
  }
}

TEST_F(Reduced, AHookThatRunsBackwardIsRefusedByName) {
  begin(1);
  at::Tensor x = at::ones({8}).requires_grad_();
  at::Tensor y = x * 2;
  y.register_hook([this](const at::Tensor&) {
    at::AutoGradMode on(true);
    (parameters_[1] * 3).sum().backward();
  });
  const Status taken = backward(y.sum() + parameters_[1].sum());
  EXPECT_EQ(taken.code(), Code::unsupported);
  EXPECT_NE(taken.message().find("the gradient of b came twice"), std::string::npos) << taken.message();
}

TEST_F(Reduced, AParameterBelongsToTheNewestReducer) {
  const std::uint64_t made = reducers_made();
  {
    Reducer newer(layout_, {parameters_[0], at::Tensor()}, *exchange_, small_);
    EXPECT_EQ(reducers_made(), made + 1);
    EXPECT_TRUE(newer.owns(0));
    EXPECT_FALSE(reducer_->owns(0));
    EXPECT_TRUE(reducer_->owns(1));
  }
  EXPECT_FALSE(reducer_->owns(0)) << "it does not fall back";
  reducer_ = std::make_unique<Reducer>(layout_, parameters_, *exchange_, small_);
  step({{1, 1}});
  EXPECT_EQ(value(0), -1);
}

TEST_F(Reduced, TheUsersOwnHookStaysAndComesFirst) {
  int called = 0;
  reducer_.reset();
  struct Count final : torch::autograd::PostAccumulateGradHook {
    int& called;
    explicit Count(int& c) : called(c) {}
    void operator()(const torch::autograd::Variable&) override { ++called; }
  };
  torch::autograd::impl::set_post_acc_grad_hooks(parameters_[0], std::make_unique<Count>(called));
  for (int i = 0; i < 3; ++i) {
    reducer_ = std::make_unique<Reducer>(layout_, parameters_, *exchange_, small_);
    step({{1, 1}});
  }
  EXPECT_EQ(called, 3);
  reducer_.reset();
  parameters_[0].sum().backward();
  EXPECT_EQ(called, 4);
  torch::autograd::impl::set_post_acc_grad_hooks(parameters_[0], nullptr);
}

TEST_F(Reduced, AnAbandonedStepLeavesNothing) {
  begin(2);
  ASSERT_TRUE(backward(parameters_[0].sum() * 100).ok());
  reducer_->abandon();
  ASSERT_TRUE(exchange_->abandon().ok());
  step({{1, 1}, {1, 1}});
  EXPECT_EQ(value(0), -2);
}

/// Records when buckets are pushed; sends nothing.
class Noted final : public update::Exchange {
 public:
  explicit Noted(std::vector<std::string>& events) : events_(events) {}
  Bytes parameters() override { return {}; }
  Status start(Time) override { return {}; }
  Status write(Time) override { return {}; }
  Status swap_averages(Time) override { return {}; }
  Status set_rates(std::span<const double>) override { return {}; }
  Status begin(const update::Work&, std::string_view) override { return {}; }
  Status push(const update::Gradient& gradient) override {
    events_.push_back("push " + std::to_string(gradient.bucket));
    parts.push_back(gradient.part);
    with_ends.push_back(!gradient.ends.empty());
    return gradient.bucket == refused ? peer_lost("worker 1") : Status{};
  }
  Result<update::StepOutcome> finish(std::span<const update::PartEnd>) override { return update::StepOutcome(); }
  Status abandon() override { return {}; }
  std::vector<update::StatePiece> owned() override { return {}; }
  void set_first(std::int64_t) override {}
  std::size_t memory_bytes() const override { return 0; }

  std::int32_t refused = -1;
  std::vector<std::int32_t> parts;
  std::vector<bool> with_ends;

 private:
  std::vector<std::string>& events_;
};

/// Three layers with one large parameter each: y = c·(b·(a·x)). Backward reaches c first.
class Overlap : public testing::Test {
 protected:
  Overlap()
      : layout_(*update::Layout::of({{"a", {kWide}}, {"b", {kWide}}, {"c", {kWide}}})),
        small_(*transport::Arena::create("cohaul test", layout_.bytes())),
        exchange_(events_) {
    for (int i = 0; i < 3; ++i) parameters_.push_back(at::ones({kWide}).requires_grad_());
    reducer_ = std::make_unique<Reducer>(layout_, parameters_, exchange_, small_.bytes());
  }
  Status slice() {
    at::Tensor y = at::ones({kWide}).requires_grad_();
    for (std::size_t layer = 0; layer < 3; ++layer) {
      y.register_hook(
          [this, layer](const at::Tensor&) { events_.push_back("backward through " + std::to_string(layer)); });
      y = y * parameters_[layer];
    }
    Status taken = reducer_->backward(y.sum(), at::ones({}), 0);
    events_.push_back("backward has ended");
    return taken;
  }

  static constexpr std::int64_t kWide = update::kLargeBytes / sizeof(float);
  std::vector<std::string> events_;
  update::Layout layout_;
  transport::Arena small_;
  Noted exchange_;
  std::vector<at::Tensor> parameters_;
  std::unique_ptr<Reducer> reducer_;
};

TEST_F(Overlap, ABucketIsPushedWhileBackwardStillRuns) {
  ASSERT_EQ(layout_.buckets().size(), 3u);
  reducer_->begin({0, 1, 1});
  ASSERT_TRUE(slice().ok());
  auto at = [&](const std::string& event) {
    return std::find(events_.begin(), events_.end(), event) - events_.begin();
  };
  EXPECT_LT(at("push 2"), at("backward through 1"));
  EXPECT_LT(at("push 1"), at("backward through 0"));
  EXPECT_LT(at("push 0"), at("backward has ended"));
}

TEST_F(Overlap, OnlyTheLastSliceIsPushed) {
  reducer_->begin({0, 2, 2});
  ASSERT_TRUE(slice().ok());
  EXPECT_EQ(std::count(events_.begin(), events_.end(), "push 2"), 0);
  ASSERT_TRUE(slice().ok());
  for (const char* push : {"push 0", "push 1", "push 2"})
    EXPECT_EQ(std::count(events_.begin(), events_.end(), push), 1);
}

TEST_F(Overlap, SlicesThatAreNoCompleteSubtreeArePushedInParts) {
  small_ = *transport::Arena::create("cohaul test", small_bytes(layout_, 2));
  reducer_ = std::make_unique<Reducer>(layout_, parameters_, exchange_, small_.bytes());
  reducer_->begin({2, 5, 5});  // slices 2 and 3 together, slice 4 alone
  ASSERT_TRUE(slice().ok());
  EXPECT_TRUE(exchange_.parts.empty());
  ASSERT_TRUE(slice().ok());
  EXPECT_EQ(exchange_.parts, (std::vector<std::int32_t>{0, 0, 0}));
  ASSERT_TRUE(slice().ok());
  EXPECT_EQ(exchange_.parts, (std::vector<std::int32_t>{0, 0, 0, 1, 1, 1}));
}

/// Ends may be sent with the gradients only if backward reads no parameter after them.
TEST_F(Overlap, EndsAreGivenWhereBackwardHasNothingMoreToDo) {
  const update::PartEnd end{1, 0};
  auto given = [&](const at::Tensor& loss, bool last = true) {
    exchange_.with_ends.clear();
    reducer_->begin({0, 1, 1});
    EXPECT_TRUE(reducer_
                    ->backward(loss, at::ones({}), 0,
                               last ? std::span<const update::PartEnd>(&end, 1) : std::span<const update::PartEnd>())
                    .ok());
    return exchange_.with_ends;
  };
  const std::vector<bool> yes(3, true), no(3, false);
  auto all = [&] { return (parameters_[0] * parameters_[1] * parameters_[2]).sum(); };
  EXPECT_EQ(given(all()), yes);
  EXPECT_EQ(given(all(), false), no) << "not the step's last slice";

  at::Tensor input = at::ones({kWide}).requires_grad_();
  EXPECT_EQ(given((parameters_[0] * parameters_[1] * parameters_[2] * input).sum()), no)
      << "the input's gradient is computed from parameters, and may come last";
  EXPECT_EQ(given(all() + at::ones({}).requires_grad_()), no);
  EXPECT_EQ(given(at::ones({}).requires_grad_() + all()), no);

  at::Tensor recomputed = at::ones({8}).requires_grad_();
  EXPECT_EQ(given(all() + Recomputed::apply(parameters_[0], recomputed).sum()), no);

  // A hook on the gradient itself may read parameters after our hook.
  struct After final : torch::autograd::FunctionPostHook {
    torch::autograd::variable_list operator()(const torch::autograd::variable_list& outputs,
                                              const torch::autograd::variable_list&) override {
      return outputs;
    }
  };
  const auto leaf = torch::autograd::impl::grad_accumulator(parameters_[1]);
  const auto key = leaf->add_post_hook(std::make_unique<After>());
  EXPECT_EQ(given(all()), no);
  leaf->del_post_hook(key);
  EXPECT_EQ(given(all()), yes);
}

TEST_F(Overlap, AFailedPushEndsTheStepNotTheProcess) {
  exchange_.refused = 2;
  reducer_->begin({0, 1, 1});
  EXPECT_EQ(slice().code(), Code::peer_lost);
  EXPECT_EQ(std::count(events_.begin(), events_.end(), "push 1"), 0) << "nothing more is sent";
}

}  // namespace
}  // namespace cohaul::gradient
