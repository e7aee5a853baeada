#include "cohaul/train/trainer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "cohaul/collective/workers.h"
#include "cohaul/data/sampler.h"
#include "cohaul/job/test_workers.h"
#include "cohaul/observe/event.h"
#include "cohaul/train/run.h"
#include "cohaul/train/test_data.h"
#include "cohaul/train/weights.h"

namespace cohaul::train {
namespace {

class Told final : public observe::Sink {
 public:
  void write(const observe::Event& event) override { events.push_back(event); }
  std::vector<observe::Event> events;
};

/// A job of one process, and a model with one weight and one parameter that is never used.
class OneProcess : public testing::Test {
 protected:
  OneProcess() : job_(join({})), w_(at::ones({3, 1})), unused_(at::ones({2})) {
    w_.set_requires_grad(true);
    unused_.set_requires_grad(true);
    options_.sink = &told_;
  }
  Model model() {
    Model m;
    m.parameters = {{"w", w_}, {"unused", unused_}};
    m.train = [this](bool on) { training_ = on; };
    return m;
  }
  Trainer trainer(const strategy::Strategy& strategy, std::optional<Optimizer> optimizer = Sgd{.lr = 0.1}) {
    return Trainer(*job_, model(), strategy, optimizer, options_);
  }
  at::Tensor loss(const data::Batch& b) { return (at::matmul(b.input, w_) - b.target).square().mean(); }
  Loss loss() {
    return [this](const data::Batch& b) { return loss(b); };
  }
  /// Returns the weight after 30 steps; it starts from ones.
  at::Tensor trained(const strategy::Strategy& strategy, int slices = 1) {
    w_ = at::ones({3, 1}).set_requires_grad(true);
    options_.slices = slices;
    Trainer t = trainer(strategy, Sgd{.lr = 0.1, .momentum = 0.5});
    t.fit(line_, loss(), {.batch = 8, .steps = 30, .log_every = 10});
    return w_.detach().clone();
  }

  std::unique_ptr<job::Job> job_;
  at::Tensor w_, unused_;
  bool training_ = false;
  Line line_{40};
  Told told_;
  TrainerOptions options_;
};

template <class Set>
concept CanBeLoopedOver =
    requires(Trainer trainer, Set set, FitOptions options) { trainer.batches(std::forward<Set>(set), options); };
static_assert(CanBeLoopedOver<const Line&>);
static_assert(!CanBeLoopedOver<Line>, "a temporary data set would be gone before the loop");

TEST(Evaluation, DrawsTheSameEachTimeAndLeavesTheProgramsRandomNumbersAlone) {
  auto job = join({});
  at::Tensor weight = at::ones({3}).set_requires_grad(true);
  Model model;
  model.parameters = {{"weight", weight}};
  model.train = [](bool) {};
  Trainer t(*job, model, strategy::Single{}, Sgd{});
  const Line data(10);
  const auto noisy = [&](const data::Batch& b) { return (b.input + at::randn({b.input.size(0), 3})).pow(2).mean(); };
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  generator.set_current_seed(5);
  const at::Tensor expected = at::randn({4});
  generator.set_current_seed(5);
  const double first = t.evaluate(data, noisy, {}, 3).loss;
  EXPECT_TRUE(at::equal(at::randn({4}), expected));
  EXPECT_EQ(t.evaluate(data, noisy, {}, 3).loss, first);
}

TEST_F(OneProcess, FollowsTheDefinitionOfSgd) {
  at::Tensor expected = at::ones({3, 1});
  data::Sampler sampler({line_.size(), 8, false, 0});
  Trainer t = trainer(strategy::Single{});
  for (int step = 0; step < 5; ++step) {
    std::vector<std::int64_t> indices(8);
    sampler.indices(step, {0, 8}, indices);
    data::Batch b = line_.get(indices);
    at::Tensor residual = at::matmul(b.input, expected) - b.target;
    expected = expected - 0.1 * 2.0 / 8 * at::matmul(b.input.t(), residual);
  }
  t.fit(line_, loss(), {.batch = 8, .steps = 5, .shuffle = false});
  EXPECT_TRUE(at::allclose(w_.detach(), expected, 1e-5, 1e-6)) << w_ << expected;
  EXPECT_TRUE(at::equal(unused_.detach(), at::ones({2}))) << "no gradient, no update";
  EXPECT_FALSE(w_.grad().defined());
}

TEST_F(OneProcess, HasTheSameBitsUnderEveryStrategyAlone) {
  using namespace strategy;
  at::Tensor expected = trained(Single{});
  EXPECT_GT((expected - 1).abs().max().item<double>(), 0.1);
  for (const Strategy& s : {Strategy{AllReduce{}}, Strategy{ParameterServer{.servers = 2}},
                            Strategy{ParameterServer{.servers = 2, .consistency = Asynchronous{}}},
                            Strategy{ParameterServer{.servers = 1, .consistency = Bounded{}}}})
    EXPECT_TRUE(at::equal(trained(s), expected)) << name(s);
  at::Tensor in_slices = trained(Single{}, 4);
  EXPECT_TRUE(at::equal(trained(ParameterServer{.servers = 2}, 4), in_slices));
  EXPECT_TRUE(at::allclose(in_slices, expected, 1e-5));
  EXPECT_TRUE(job_->close().ok()) << "and says goodbye for all of them";
}

TEST_F(OneProcess, TellsOfEveryTenthStepAndOfTheLast) {
  for (const strategy::Strategy& s :
       {strategy::Strategy{strategy::Single{}},
        strategy::Strategy{strategy::ParameterServer{.servers = 2, .consistency = strategy::Asynchronous{}}}}) {
    told_.events.clear();
    Trainer t = trainer(s);
    t.fit(line_, loss(), {.batch = 8, .steps = 25, .log_every = 10});
    t.fit(line_, loss(), {.batch = 8, .steps = 12, .log_every = 10});
    std::vector<std::int64_t> steps;
    for (const observe::Event& e : told_.events) {
      EXPECT_EQ(e.kind, "step");
      steps.push_back(static_cast<std::int64_t>(e.number("step").value()));
      EXPECT_GT(e.number("samples_per_s"), 0);
      EXPECT_EQ(e.number("lr"), 0.1);
      EXPECT_EQ(e.number("skipped"), 0);
      EXPECT_EQ(e.find("staleness_mean") != nullptr, !std::holds_alternative<strategy::Single>(s));
    }
    EXPECT_EQ(steps, (std::vector<std::int64_t>{10, 20, 25, 35, 37})) << name(s);
    EXPECT_LT(told_.events.back().number("loss"), told_.events.front().number("loss"));
    EXPECT_EQ(t.steps_done(), 37);
    EXPECT_EQ(t.times().steps.size(), 12u) << "of the last loop";
  }
}

TEST_F(OneProcess, AnOwnLoopAnswersEveryBatchOnce) {
  Trainer t = trainer(strategy::Single{});
  int batches = 0;
  for (const data::Batch& b : t.batches(line_, {.batch = 8, .epochs = 2})) {
    EXPECT_EQ(b.input.size(0), 8);
    t.step(loss(b));
    ++batches;
  }
  EXPECT_EQ(batches, 10);
  std::string why;
  const Line other(40);
  Batches unanswered = t.batches(other, {.batch = 8, .steps = 3});
  auto it = unanswered.begin();
  EXPECT_EQ(code_of([&] { ++it; }, &why), Code::invalid);
  EXPECT_NE(why.find("call step(loss) or average(loss) once for each"), std::string::npos) << why;
}

TEST_F(OneProcess, ASimulationHasNoDataSet) {
  Trainer t = trainer(strategy::Single{});
  for (int i = 0; i < 3; ++i) t.step((w_ * w_).sum());
  EXPECT_TRUE(at::allclose(w_.detach(), at::full({3, 1}, 0.8 * 0.8 * 0.8)));
  EXPECT_EQ(t.steps_done(), 3);
  Trainer handed_out = trainer(strategy::ParameterServer{.consistency = strategy::Asynchronous{}});
  EXPECT_EQ(code_of([&] { handed_out.step(w_.sum()); }), Code::unsupported);
}

TEST_F(OneProcess, AverageLeavesTheMeanGradientToTheUser) {
  options_.slices = 2;
  Trainer t = trainer(strategy::AllReduce{}, std::nullopt);
  for (const data::Batch& b : t.batches(line_, {.batch = 8, .steps = 1, .shuffle = false})) t.average(loss(b));
  std::vector<std::int64_t> all = {0, 1, 2, 3, 4, 5, 6, 7};
  at::Tensor mine = w_.grad().clone();
  w_.mutable_grad() = at::Tensor();
  loss(line_.get(all)).backward();
  EXPECT_TRUE(at::allclose(mine, w_.grad(), 1e-5));
  EXPECT_TRUE(at::equal(w_.detach(), at::ones({3, 1}))) << "the update is the user's";
  EXPECT_EQ(code_of([&] { t.step(w_.sum()); }), Code::unsupported);
  Trainer with_optimizer = trainer(strategy::Single{});
  EXPECT_EQ(code_of([&] { with_optimizer.average(w_.sum()); }), Code::unsupported);
  EXPECT_EQ(code_of([&] { trainer(strategy::ParameterServer{}, std::nullopt); }), Code::unsupported);
}

TEST_F(OneProcess, RefusesWhatMakesNoSense) {
  Trainer t = trainer(strategy::Single{});
  auto fit = [&](const FitOptions& o) { return [&t, this, o] { t.fit(line_, loss(), o); }; };
  EXPECT_EQ(code_of(fit({.batch = 8})), Code::invalid) << "neither steps nor epochs";
  EXPECT_EQ(code_of(fit({.batch = 8, .steps = 1, .epochs = 1})), Code::invalid);
  EXPECT_EQ(code_of(fit({.batch = 0, .steps = 1})), Code::invalid);
  EXPECT_EQ(code_of(fit({.batch = 1, .steps = 1, .log_every = 0})), Code::invalid);
  EXPECT_EQ(code_of(fit({.batch = 1, .steps = -1})), Code::invalid);
  EXPECT_EQ(code_of([&] { t.evaluate(line_, loss(), {}, 0); }), Code::invalid);
  for (double lr : std::vector<double>{-1, NAN, INFINITY})
    EXPECT_EQ(code_of([&] { trainer(strategy::Single{}, Sgd{.lr = lr}); }), Code::invalid) << lr;
  EXPECT_EQ(code_of([&] { t.fit(Line(0), loss(), {.batch = 1, .steps = 1}); }), Code::invalid);
  EXPECT_EQ(code_of([&] { t.fit(line_, [&](const data::Batch& b) { return b.input; }, {.batch = 8, .steps = 1}); }),
            Code::invalid)
      << "no scalar";
  options_.slices = 9;
  Trainer sliced = trainer(strategy::Single{});
  EXPECT_EQ(code_of([&] { sliced.fit(line_, loss(), {.batch = 8, .steps = 1}); }), Code::invalid);
  std::string why;
  EXPECT_EQ(code_of([&] { trainer(strategy::Single{}, Sgd{.lr = 0.1, .nesterov = true}); }, &why), Code::invalid);
  EXPECT_NE(why.find("momentum"), std::string::npos) << why;
  w_ = at::ones({3, 1}, at::kHalf).set_requires_grad(true);
  EXPECT_EQ(code_of([&] { trainer(strategy::Single{}); }, &why), Code::unsupported);
  EXPECT_NE(why.find("w"), std::string::npos) << why;
}

TEST_F(OneProcess, EvaluatesInEvaluationModeAndTrainsOn) {
  Trainer t = trainer(strategy::Single{});
  bool seen_training = true;
  data::Metric mean = [&](const data::Batch& b) { return b.target.sum().item<double>(); };
  Evaluation e = t.evaluate(
      line_, [&](const data::Batch& b) { return seen_training = training_, loss(b); }, {{"mean", mean}}, 16);
  EXPECT_FALSE(seen_training);
  EXPECT_TRUE(training_);
  std::vector<std::int64_t> all(40);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i);
  data::Batch whole = line_.get(all);
  EXPECT_NEAR(e.loss, loss(whole).item<double>(), 1e-6) << "40 samples in batches of 16, 16 and 8";
  EXPECT_NEAR(e.metrics.at(0).second, whole.target.mean().item<double>(), 1e-6);
}

TEST_F(OneProcess, SavesWhatItStartsFrom) {
  const std::string file = testing::TempDir() + "cohaul-trainer-test.safetensors";
  {
    Trainer t = trainer(strategy::Single{});
    t.fit(line_, loss(), {.batch = 8, .steps = 10});
    t.save(file);
  }
  at::Tensor saved = w_.detach().clone();
  w_ = at::zeros({3, 1}).set_requires_grad(true);
  Model m = model();
  ASSERT_TRUE(load(m, file).ok());
  EXPECT_TRUE(at::equal(w_.detach(), saved));
  std::filesystem::remove(file);
}

TEST_F(OneProcess, SharedAndFrozenParametersAreAsInPyTorch) {
  at::Tensor frozen = at::full({3, 1}, 5.0, at::kFloat);
  Model m = model();
  m.parameters.emplace_back("frozen", frozen);
  Trainer t(*job_, m, strategy::ParameterServer{.servers = 2}, Sgd{.lr = 0.1}, options_);
  t.step((w_ * w_ * frozen).sum());
  EXPECT_TRUE(at::equal(frozen, at::full({3, 1}, 5.0, at::kFloat)));
  EXPECT_TRUE(at::allclose(w_.detach(), at::full({3, 1}, 1 - 0.1 * 2 * 5)));
}

TEST_F(OneProcess, ALoopThatIsLeftEndsThere) {
  for (const strategy::Strategy& s :
       {strategy::Strategy{strategy::Single{}}, strategy::Strategy{strategy::ParameterServer{.servers = 2}},
        strategy::Strategy{strategy::ParameterServer{.consistency = strategy::Asynchronous{}}}})
    for (bool before_answering : {false, true}) {
      w_ = at::ones({3, 1}).set_requires_grad(true);
      Trainer t = trainer(s);
      int first = 0, second = 0;
      for (const data::Batch& b : t.batches(line_, {.batch = 8, .steps = 1000})) {
        if (before_answering && first == 10) break;
        t.step(loss(b));
        if (++first == 10 && !before_answering) break;
      }
      for (const data::Batch& b : t.batches(line_, {.batch = 8, .steps = 5})) t.step(loss(b)), ++second;
      EXPECT_EQ(first, 10) << name(s);
      EXPECT_EQ(second, 5) << name(s);
      EXPECT_EQ(t.steps_done(), 15) << name(s);
    }
}

TEST_F(OneProcess, AStepSaysWhatCameOfIt) {
  Trainer t = trainer(strategy::Single{}, Sgd{.lr = 0.1, .clip_norm = 1, .non_finite = NonFinite::skip});
  const StepResult r = t.step((w_ * 4).sum());
  EXPECT_TRUE(r.complete);
  EXPECT_EQ(r.update, 1);
  EXPECT_EQ(r.loss, 12);
  EXPECT_NEAR(*r.gradient_norm, 4 * std::sqrt(3), 1e-6);
  EXPECT_TRUE(at::allclose(w_.detach(), at::full({3, 1}, 1 - 0.1 / std::sqrt(3), at::kFloat), 1e-5));
  const at::Tensor before = w_.detach().clone();
  EXPECT_TRUE(t.step((w_ * INFINITY).sum()).skipped);
  EXPECT_TRUE(at::equal(w_.detach(), before));
  EXPECT_FALSE(t.step(w_.sum()).skipped);
  told_.events.clear();
  for (const data::Batch& b : t.batches(line_, {.batch = 8, .steps = 1})) t.step(loss(b));
  ASSERT_EQ(told_.events.size(), 1u);
  EXPECT_EQ(told_.events[0].number("skipped"), 1);
  EXPECT_GT(told_.events[0].number("gradient_norm").value_or(0), 0);
  Trainer stops = trainer(strategy::Single{}, Sgd{.lr = 0.1, .non_finite = NonFinite::stop});
  std::string why;
  EXPECT_EQ(code_of([&] { stops.step((w_ * NAN).sum()); }, &why), Code::invalid);
  EXPECT_NE(why.find("the gradient of w is not finite at worker 0"), std::string::npos) << why;
}

TEST_F(OneProcess, SlicesWeighAsTheyHaveSamples) {
  options_.slices = 2;
  Trainer t = trainer(strategy::Single{});
  t.step(w_.sum(), {.samples = 3});
  const StepResult r = t.step((w_ * 5).sum(), {.samples = 1});
  EXPECT_EQ(r.loss, (3 * 3 + 15) / 4.0);
  EXPECT_TRUE(at::allclose(w_.detach(), at::full({3, 1}, 1 - 0.1 * 2, at::kFloat)));
  t.step(w_.sum(), {.samples = 3});
  EXPECT_EQ(code_of([&] { t.step(w_.sum()); }), Code::invalid) << "for all slices, or for none";
}

TEST_F(OneProcess, UpdatesWhatIsReadInBackwardAfterIt) {
  // The parameter is read by the backward of an earlier layer, after its own gradient is complete.
  at::Tensor x = at::full({3, 1}, 2.0, at::kFloat);
  at::Tensor body = at::ones({3, 1}).requires_grad_();
  Model m;
  m.parameters = {{"body", body}, {"head", w_}};
  m.train = [](bool) {};
  Trainer t(*job_, m, strategy::Single{}, Sgd{.lr = 0.1}, options_);
  at::Tensor h = body * x;
  t.step((h * w_.detach()).sum() + (h.detach() * w_).sum() * 100);
  EXPECT_TRUE(at::allclose(body.detach(), at::full({3, 1}, 1 - 0.1 * 2, at::kFloat))) << body;
}

TEST_F(OneProcess, AGraphKeptAcrossAStepIsRefusedAsPyTorchDoes) {
  Trainer t = trainer(strategy::Single{});
  at::Tensor kept = (w_ * w_).sum();
  t.step(w_.sum());
  EXPECT_THROW(kept.backward(), std::exception);
  w_.mutable_grad() = at::Tensor();
  at::Tensor of_unused = (unused_ * unused_).sum();
  t.step(w_.sum());
  EXPECT_NO_THROW(of_unused.backward()) << "no update, no new version";
}

TEST_F(OneProcess, TheModelOutlivesTrainerAndJob) {
  at::Tensor view, base;
  {
    auto job = join({});
    Trainer t(*job, model(), strategy::ParameterServer{.servers = 2}, Sgd{.lr = 0.1}, options_);
    view = w_.detach().view({3});
    t.fit(line_, loss(), {.batch = 8, .steps = 5});
    EXPECT_TRUE(at::equal(view, w_.detach().view({3}))) << "a view made within follows";
    base = w_.detach().clone();
    EXPECT_TRUE(job->close().ok());
    EXPECT_EQ(code_of([&] { t.step(w_.sum()); }), Code::invalid) << "closed with its job";
  }
  EXPECT_TRUE(at::equal(w_.detach(), base));
  EXPECT_TRUE(at::equal(view, base.view({3})));
  at::NoGradGuard no_grad;
  w_.fill_(7);
  EXPECT_TRUE(at::equal(view, at::full({3}, 7, at::kFloat))) << "and still is one";
}

TEST_F(OneProcess, AnAliasMadeBeforeTheTrainerFollows) {
  at::Tensor alias = w_.detach();
  Trainer t = trainer(strategy::Single{});
  t.step(w_.sum());
  EXPECT_TRUE(at::equal(alias, w_.detach()));
  EXPECT_FALSE(at::equal(alias, at::ones({3, 1})));
}

TEST_F(OneProcess, ATrainerMadeAnewGoesOn) {
  auto t = std::make_unique<Trainer>(trainer(strategy::AllReduce{}));
  t->step(w_.sum());
  t = std::make_unique<Trainer>(trainer(strategy::AllReduce{}, Sgd{.lr = 1}));
  t->step(w_.sum());
  EXPECT_TRUE(at::allclose(w_.detach(), at::full({3, 1}, -0.1, at::kFloat))) << w_;
  Trainer newest = trainer(strategy::AllReduce{}, Sgd{.lr = 1});
  std::string why;
  EXPECT_EQ(code_of([&] { t->step(w_.sum()); }, &why), Code::invalid);
  EXPECT_NE(why.find("w belongs to a newer trainer"), std::string::npos) << why;
  newest.step(w_.sum());
  std::vector<Trainer> kept;
  kept.push_back(std::move(newest));
  kept.front().step(w_.sum());
  EXPECT_TRUE(at::allclose(w_.detach(), at::full({3, 1}, -2.1, at::kFloat))) << w_;
}

TEST_F(OneProcess, FreezingUnfreezingAndLoadingAreFollowed) {
  for (const strategy::Strategy& s :
       {strategy::Strategy{strategy::Single{}}, strategy::Strategy{strategy::ParameterServer{.servers = 2}}}) {
    w_ = at::ones({3, 1});  // it is frozen when the trainer is made
    Trainer t = trainer(s);
    t.step(unused_.sum());
    w_.set_requires_grad(true);
    t.step(w_.sum());
    EXPECT_TRUE(at::allclose(w_.detach(), at::full({3, 1}, 0.9, at::kFloat)));
    w_.set_data(at::full({3, 1}, 5.0, at::kFloat));  // as torch::load does
    t.step(w_.sum());
    EXPECT_TRUE(at::allclose(w_.detach(), at::full({3, 1}, 4.9, at::kFloat)));
    {
      at::NoGradGuard no_grad;
      w_.clamp_(0, 2);
    }
    t.step(w_.sum());
    EXPECT_TRUE(at::allclose(w_.detach(), at::full({3, 1}, 1.9, at::kFloat)));
    t.write([&] { w_.fill_(3); });
    t.step(w_.sum());
    EXPECT_TRUE(at::allclose(w_.detach(), at::full({3, 1}, 2.9, at::kFloat)));
    w_.set_data(w_.detach().to(at::kDouble));
    std::string why;
    EXPECT_EQ(code_of([&] { t.step(w_.sum()); }, &why), Code::invalid);
    EXPECT_NE(why.find("parameter w is Double [3, 1]"), std::string::npos) << why;
  }
}

TEST_F(OneProcess, ASparseGradientIsRefusedByName) {
  w_ = at::ones({3, 1}).set_requires_grad(true);
  Trainer t = trainer(strategy::Single{});
  std::string why;
  EXPECT_EQ(code_of([&] { t.step(at::embedding(w_, at::zeros({2}, at::kLong), -1, false, true).sum()); }, &why),
            Code::unsupported);
  EXPECT_NE(why.find("the gradient of w is sparse"), std::string::npos) << why;
}

TEST_F(OneProcess, SharedMemoryIsRefusedByName) {
  at::Tensor twin = at::ones({3, 1}).requires_grad_();
  twin.set_data(w_.detach());
  Model m = model();
  m.parameters.emplace_back("twin", twin);
  std::string why;
  EXPECT_EQ(code_of([&] { Trainer(*job_, m, strategy::Single{}, Sgd{}, options_); }, &why), Code::unsupported);
  EXPECT_NE(why.find("twin shares its memory"), std::string::npos) << why;
  m.parameters.back() = {"tied", w_};
  Trainer t(*job_, m, strategy::Single{}, Sgd{.lr = 0.1}, options_);
  t.step((w_ * 2).sum());
  EXPECT_TRUE(at::allclose(w_.detach(), at::full({3, 1}, 0.8, at::kFloat))) << "one parameter, one update";
  EXPECT_EQ(t.parameters().size(), 3u) << "under all its names";
}

TEST_F(OneProcess, StridedParametersKeepTheirStrides) {
  at::Tensor t = at::arange(12, at::kFloat).reshape({3, 4}).t().requires_grad_();
  at::Tensor c = at::ones({2, 3, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast).requires_grad_();
  at::Tensor factor = at::arange(12, at::kFloat).reshape({4, 3}).sin();
  const at::Tensor expected = t.detach() - 0.1 * factor;
  Model m;
  m.parameters = {{"t", t}, {"c", c}};
  m.train = [](bool) {};
  {
    Trainer trainer(*job_, m, strategy::ParameterServer{.servers = 2}, Sgd{.lr = 0.1}, options_);
    trainer.step((t * factor).sum() + c.sum());
  }
  EXPECT_TRUE(at::allclose(t.detach(), expected)) << t;
  EXPECT_EQ(t.strides().vec(), (std::vector<std::int64_t>{1, 4}));
  EXPECT_TRUE(c.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(at::allclose(c.detach(), at::full({2, 3, 4, 4}, 0.9, at::kFloat)));
}

TEST_F(OneProcess, AThrowWithinBackwardLeavesTheTrainerUsable) {
  Trainer t = trainer(strategy::Single{});
  at::Tensor hooked = w_ * 2;
  hooked.register_hook([](const at::Tensor&) -> at::Tensor { throw std::runtime_error("from a hook"); });
  EXPECT_THROW(t.step(hooked.sum() + unused_.sum()), std::exception);
  EXPECT_FALSE(w_.grad().defined());
  t.step(w_.sum());
  EXPECT_TRUE(at::allclose(w_.detach(), at::full({3, 1}, 0.9, at::kFloat)));
  EXPECT_TRUE(at::equal(unused_.detach(), at::ones({2})));
}

TEST_F(OneProcess, ParametersAreCopies) {
  Trainer t = trainer(strategy::Single{});
  const NamedTensors before = t.parameters();
  t.step(w_.sum());
  EXPECT_TRUE(at::equal(before.at(0).second, at::ones({3, 1})));
}

std::size_t entries(const char* folder) {
  std::filesystem::directory_iterator it(folder);
  return static_cast<std::size_t>(std::distance(begin(it), end(it)));
}
std::size_t mappings() {
  std::ifstream maps("/proc/self/maps");
  std::size_t n = 0;
  for (std::string line; std::getline(maps, line);) ++n;
  return n;
}

TEST_F(OneProcess, AThousandTrainersLeaveAsMuchAsOne) {
  for (const strategy::Strategy& s :
       {strategy::Strategy{strategy::AllReduce{}}, strategy::Strategy{strategy::ParameterServer{.servers = 2}}}) {
    const int count = std::holds_alternative<strategy::AllReduce>(s) ? 1000 : 100;
    std::size_t descriptors = 0, maps = 0;
    for (int i = 0; i < count; ++i) {
      Trainer t = trainer(s);
      t.step(w_.sum());
      if (i == 9) descriptors = entries("/proc/self/fd"), maps = mappings();
    }
    EXPECT_LE(entries("/proc/self/fd"), descriptors + 20) << name(s);
    EXPECT_LE(mappings(), maps + 40) << name(s);
  }
}

}  // namespace
}  // namespace cohaul::train
