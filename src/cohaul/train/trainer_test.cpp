#include "cohaul/train/trainer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cohaul/data/sampler.h"
#include "cohaul/job/test_workers.h"
#include "cohaul/strategy/workers.h"
#include "cohaul/train/run.h"

namespace cohaul::train {
namespace {

/// y = x·w with a known w, to be found again.
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

class Told final : public Reporter {
 public:
  void step(const StepReport& report) override { reports.push_back(report); }
  std::vector<StepReport> reports;
};

/// One process, and a model of one weight and one parameter that is never used.
class OneProcess : public testing::Test {
 protected:
  OneProcess() : job_(join({})), w_(at::ones({3, 1})), unused_(at::ones({2})) {
    w_.set_requires_grad(true);
    unused_.set_requires_grad(true);
    options_.reporter = &told_;
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
  /// The parameters after 30 steps of it, from ones.
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

Code code_of(const std::function<void()>& f, std::string* why = nullptr) {
  try {
    f();
  } catch (const Error& e) {
    if (why) *why = e.what();
    return e.code();
  }
  return Code::ok;
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
  EXPECT_TRUE(training_);
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
    told_.reports.clear();
    Trainer t = trainer(s);
    t.fit(line_, loss(), {.batch = 8, .steps = 25, .log_every = 10});
    t.fit(line_, loss(), {.batch = 8, .steps = 12, .log_every = 10});
    std::vector<std::int64_t> steps;
    for (const StepReport& r : told_.reports) {
      steps.push_back(r.step);
      EXPECT_GT(r.samples_per_s, 0);
      EXPECT_EQ(r.asynchrony.has_value(), !std::holds_alternative<strategy::Single>(s));
    }
    EXPECT_EQ(steps, (std::vector<std::int64_t>{10, 20, 25, 35, 37})) << name(s);
    EXPECT_LT(told_.reports.back().loss, told_.reports.front().loss);
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
  Batches unanswered = t.batches(line_, {.batch = 8, .steps = 3});
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

/// A parameter and a buffer that start from each worker's own number.
struct Numbered {
  explicit Numbered(float number)
      : weight(at::full({4, 2}, number, at::kFloat).set_requires_grad(true)), count(at::full({3}, number, at::kLong)) {
    model.parameters = {{"weight", weight}};
    model.buffers = {{"count", count}};
    model.train = [](bool) {};
  }
  at::Tensor weight, count;
  Model model;
};

TEST(TwoWorkers, StartFromWorkerZerosParametersAndBuffers) {
  for (const strategy::Strategy& s :
       {strategy::Strategy{strategy::AllReduce{}}, strategy::Strategy{strategy::ParameterServer{.servers = 2}},
        strategy::Strategy{strategy::ParameterServer{.consistency = strategy::Bounded{1}}}})
    job::with_workers(2, [&](job::Job& job) {
      Numbered own(static_cast<float>(5 + job.rank()));
      Trainer t(job, own.model, s, Sgd{.lr = 0.1}, {});
      EXPECT_TRUE(at::equal(own.weight.detach(), at::full({4, 2}, 5, at::kFloat))) << name(s);
      EXPECT_TRUE(at::equal(own.count, at::full({3}, 5, at::kLong))) << name(s);
      EXPECT_TRUE(job.close().ok());
    });
}

TEST(TwoWorkers, UnderTensorOnlyWhatIsSplitIsTheirOwn) {
  job::with_workers(2, [](job::Job& job) {
    auto workers = *strategy::Workers::connect(job, "layers", 0);
    Numbered own(static_cast<float>(5 + job.rank()));
    at::Tensor part = at::full({2, 2}, 7 + job.rank(), at::kFloat).set_requires_grad(true);
    own.model.parameters.emplace_back("part", part);
    own.model.split = {{"part", 0, parallel::part_of(4, job.rank(), 2)}};
    TrainerOptions options;
    options.layer_group = &workers->group();
    Trainer t(job, own.model, strategy::Tensor{}, Sgd{.lr = 0.5}, options);
    EXPECT_TRUE(at::equal(own.weight.detach(), at::full({4, 2}, 5, at::kFloat)));
    EXPECT_TRUE(at::equal(own.count, at::full({3}, 5, at::kLong)));
    EXPECT_TRUE(at::equal(part.detach(), at::full({2, 2}, 7 + job.rank(), at::kFloat)));
    t.step(own.weight.sum() + part.sum());
    NamedTensors whole = t.parameters();
    EXPECT_TRUE(at::equal(whole.at(0).second, at::full({4, 2}, 4.5, at::kFloat)));
    EXPECT_TRUE(at::equal(whole.at(1).second.sum(1),
                          at::stack({at::full({}, 13.f), at::full({}, 13.f), at::full({}, 15.f), at::full({}, 15.f)})));
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(TwoWorkers, UnderTensorAModelWithoutSplitLayersIsRefused) {
  job::with_workers(2, [](job::Job& job) {
    Numbered own(5);
    std::string why;
    EXPECT_EQ(code_of([&] { Trainer(job, own.model, strategy::Tensor{}, Sgd{}, {}); }, &why), Code::unsupported);
    EXPECT_NE(why.find("tensor_parallel_layers"), std::string::npos) << why;
    EXPECT_TRUE(job.close().ok());
  });
}

}  // namespace
}  // namespace cohaul::train
