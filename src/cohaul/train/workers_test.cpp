// Tests of trainers with several workers; each worker is a thread with a job of its own.

#include "cohaul/train/trainer.h"

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
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "cohaul/base/mutex.h"
#include "cohaul/collective/workers.h"
#include "cohaul/data/sampler.h"
#include "cohaul/job/test_workers.h"
#include "cohaul/train/run.h"
#include "cohaul/train/test_data.h"
#include "cohaul/train/weights.h"

namespace cohaul::train {
namespace {

/// A parameter and a buffer with a start value that differs from worker to worker.
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

TEST(TwoWorkers, FollowTheScheduleInEveryMode) {
  const Schedule schedule{.kind = Schedule::Kind::cosine, .warmup_steps = 3, .steps = 8, .min = 0.1};
  double sum = 0;
  for (int t = 0; t < 12; ++t) sum += 0.5 * schedule.at(t);
  for (const strategy::Strategy& s :
       {strategy::Strategy{strategy::AllReduce{}}, strategy::Strategy{strategy::ParameterServer{.servers = 2}},
        strategy::Strategy{strategy::ParameterServer{.consistency = strategy::Asynchronous{}}}})
    job::with_workers(2, [&](job::Job& job) {
      Numbered own(1);
      const Line data(24);
      Trainer t(job, own.model, s, Sgd{.lr = 0.5, .schedule = schedule}, {});
      for ([[maybe_unused]] const data::Batch& b : t.batches(data, {.batch = 2, .steps = 12})) t.step(own.weight.sum());
      EXPECT_TRUE(at::allclose(t.parameters().front().second, at::full({4, 2}, 1 - sum, at::kFloat), 1e-5)) << name(s);
      EXPECT_TRUE(job.close().ok());
    });
}

TEST(TwoWorkers, UnderTensorOnlyWhatIsSplitIsTheirOwn) {
  job::with_workers(2, [](job::Job& job) {
    auto workers = *collective::Workers::connect(job, "layers", 0);
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

TEST(TwoWorkers, UnderTensorTheNormOfASplitParameterIsRefused) {
  job::with_workers(2, [](job::Job& job) {
    auto workers = *collective::Workers::connect(job, "layers", 0);
    Numbered own(5);
    own.model.parameters.emplace_back("part", at::full({2, 2}, 7, at::kFloat).set_requires_grad(true));
    own.model.split = {{"part", 0, parallel::part_of(4, job.rank(), 2)}};
    const TrainerOptions options{.layer_group = &workers->group()};
    std::string why;
    EXPECT_EQ(code_of([&] { Trainer(job, own.model, strategy::Tensor{}, Lamb{}, options); }, &why), Code::unsupported);
    EXPECT_NE(why.find("parameter part is split over the workers, and lamb needs the norm of all of it"),
              std::string::npos)
        << why;
    const Lamb without{.groups = {{.match = {"part"}, .trust_ratio = false}}};
    Trainer t(job, own.model, strategy::Tensor{}, without, options);
    t.step(own.weight.sum());
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(TwoWorkers, LayerwiseRulesTrainEachPushWholeInAsynchronousModes) {
  const Line data(24);
  for (const Optimizer& optimizer : {Optimizer(Lamb{.lr = 0.1}), Optimizer(Lars{.trust_coefficient = 0.1})}) {
    at::Tensor alone;
    const std::vector<strategy::Strategy> all{
        strategy::Single{}, strategy::ParameterServer{.servers = 2, .consistency = strategy::Asynchronous{}},
        strategy::ParameterServer{.servers = 3, .consistency = strategy::Bounded{1}}};
    for (const strategy::Strategy& s : all) {
      job::with_workers(strategy::is_asynchronous(s) ? 2 : 1, [&](job::Job& job) {
        at::Tensor wide = (at::arange(40'000, at::kFloat) * 0.37).sin().set_requires_grad(true);
        Model model;
        model.parameters = {{"wide", wide}};
        model.train = [](bool) {};
        Trainer t(job, model, s, optimizer, {});
        const at::Tensor slope = (at::arange(40'000, at::kFloat) * 0.11).cos();
        // All pushes have the same gradient, so their order does not matter.
        for ([[maybe_unused]] const data::Batch& b : t.batches(data, {.batch = 2, .steps = 12}))
          t.step((wide * slope).sum());
        const at::Tensor end = t.parameters().front().second;
        if (!strategy::is_asynchronous(s)) alone = end;
        else EXPECT_TRUE(at::equal(end, alone)) << name(s);
        EXPECT_TRUE(job.close().ok());
      });
    }
  }
}

/// Runs `body` and the job's close() at two workers, and returns each worker's error, or "".
std::array<std::string, 2> errors_of(const std::function<void(job::Job&, Numbered&)>& body) {
  std::array<std::string, 2> out;
  job::with_workers(2, [&](job::Job& job) {
    Numbered own(5);
    try {
      body(job, own);
      or_throw(job.close());
    } catch (const Error& e) {
      out[static_cast<std::size_t>(job.rank())] = e.what();
      job.report_failure(e.status());
    }
  });
  return out;
}

const std::vector<strategy::Strategy>& synchronous() {
  static const std::vector<strategy::Strategy> all{strategy::AllReduce{}, strategy::ParameterServer{.servers = 2}};
  return all;
}

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(TwoWorkers, WhoDoNotAgreeAreToldWhatDiffers) {
  for (const strategy::Strategy& s : synchronous()) {
    auto why = errors_of([&](job::Job& job, Numbered& own) {
      Trainer t(job, own.model, s, Sgd{.lr = job.rank() == 0 ? 0.1 : 0.2}, {});
    });
    for (const std::string& w : why)
      EXPECT_TRUE(says(w, "optimizer.lr is 0.1 at worker 0 and 0.2 at worker 1")) << name(s) << ": " << w;
    const Line data(40);
    why = errors_of([&](job::Job& job, Numbered& own) {
      Trainer t(job, own.model, s, Sgd{}, {});
      for (const data::Batch& b : t.batches(data, {.batch = 8, .steps = job.rank() == 0 ? 5 : 6}))
        t.step(own.weight.sum() * b.input[0][0]);
    });
    EXPECT_TRUE(says(why[0] + why[1], "steps is 5 at worker 0 and 6 at worker 1")) << name(s) << why[0] << why[1];
  }
}

TEST(TwoWorkers, WhoseSchedulesDifferAreToldSo) {
  const auto why = errors_of([](job::Job& job, Numbered& own) {
    Trainer t(job, own.model, strategy::AllReduce{}, Sgd{.schedule = {.warmup_steps = 5 + job.rank()}}, {});
  });
  EXPECT_NE(why[0].find("schedule.warmup_steps is 5 at worker 0 and 6 at worker 1"), std::string::npos) << why[0];
}

TEST(TwoWorkers, WhoseGroupsOrRatesByHandDifferAreToldSo) {
  const auto groups = errors_of([](job::Job& job, Numbered& own) {
    Trainer t(job, own.model, strategy::AllReduce{}, Sgd{.groups = {{.match = {"w*"}, .lr = 0.5 + job.rank()}}}, {});
  });
  EXPECT_NE(groups[0].find("optimizer.group.0 is match w*, lr 0.5 at worker 0 and match w*, lr 1.5 at worker 1"),
            std::string::npos)
      << groups[0];
  for (const strategy::Strategy& s : synchronous()) {
    const auto differ = errors_of([&](job::Job& job, Numbered& own) {
      Trainer t(job, own.model, s, Sgd{}, {});
      t.step(own.weight.sum());
      t.set_lr(0.5 + job.rank());
      for (int i = 0; i < 2; ++i) t.step(own.weight.sum());
    });
    EXPECT_TRUE(says(differ[0] + differ[1], "learning rates")) << name(s) << differ[0] << differ[1];
    const auto one_only = errors_of([&](job::Job& job, Numbered& own) {
      Trainer t(job, own.model, s, Sgd{}, {});
      t.step(own.weight.sum());
      if (job.rank() == 1) t.set_lr(0.5);
      for (int i = 0; i < 2; ++i) t.step(own.weight.sum());
    });
    EXPECT_TRUE(says(
        one_only[0] + one_only[1],
        "the learning rates that set_lr() or the schedule plateau left is not set at worker 0 and 0.5 at worker 1"))
        << name(s) << one_only[0] << one_only[1];
  }
}

/// For sets of many sizes, every worker gets the results of one worker alone.
TEST(Evaluation, HasTheSameBitsOnAnyNumberOfWorkers) {
  for (const std::int64_t size : {1, 2, 40, 401}) {
    const Line data(size);
    std::vector<Evaluation> seen;
    Mutex mutex;
    std::atomic<std::int64_t> batches = 0;
    for (const int world : {1, 2, 3}) {
      job::with_workers(world, [&](job::Job& job) {
        Numbered own(1);
        const strategy::Strategy s = world == 1 ? strategy::Strategy(strategy::Single{}) : strategy::AllReduce{};
        Trainer t(job, own.model, s, Sgd{.lr = 0.1}, {.seed = 3});
        const Metrics metrics{{"first", [](const data::Batch& b) { return b.input.sum().item<double>(); }},
                              {"count", [](const data::Batch& b) { return static_cast<double>(b.input.size(0)); }}};
        const Evaluation e = t.evaluate(
            data,
            [&](const data::Batch& b) {
              if (world == 3) ++batches;
              return (b.input * own.weight.sum()).pow(2).mean();
            },
            metrics, 4);
        EXPECT_TRUE(job.close().ok());
        const MutexLock lock(mutex);
        seen.push_back(e);
      });
    }
    EXPECT_EQ(batches, (size + 3) / 4) << "each batch is computed once";
    ASSERT_EQ(seen.size(), 6u);
    for (const Evaluation& e : seen) {
      EXPECT_EQ(e.loss, seen[0].loss) << size;
      EXPECT_EQ(e.metrics, seen[0].metrics) << size;
    }
    EXPECT_EQ(seen[0].metrics[1].second, 1.0);
  }
}

TEST(Evaluation, OfDifferentSetsIsRefused) {
  const auto why = errors_of([](job::Job& job, Numbered& own) {
    Trainer t(job, own.model, strategy::AllReduce{}, Sgd{}, {});
    const Line data(20 + job.rank());
    t.evaluate(data, [&](const data::Batch&) { return own.weight.sum(); });
  });
  EXPECT_TRUE(says(why[0], "the test set's size is 20 at worker 0 and 21 at worker 1")) << why[0];
}

TEST(TwoWorkers, WhoLeavesEarlyIsNamedAtOnce) {
  for (const strategy::Strategy& s : synchronous()) {
    const Time began = steady_clock().now();
    auto why = errors_of([&](job::Job& job, Numbered& own) {
      Trainer t(job, own.model, s, Sgd{}, {});
      for (int i = 0; i < (job.rank() == 1 ? 9 : 10); ++i) t.step(own.weight.sum());
    });
    EXPECT_TRUE(says(why[0], "worker 1") && says(why[0], "step 10")) << name(s) << ": " << why[0];
    why = errors_of([&](job::Job& job, Numbered& own) {
      const Line data(8);
      Trainer t(job, own.model, s, Sgd{}, {});
      t.step(own.weight.sum());
      if (job.rank() == 0) t.evaluate(data, [&](const data::Batch&) { return own.weight.sum(); });
      else t.step(own.weight.sum());
    });
    EXPECT_TRUE(says(why[1], "worker 0 is in evaluate() after 1 step,")) << name(s) << ": " << why[1];
    EXPECT_LT(steady_clock().now() - began, 10 * kSecond);
  }
}

TEST(TwoWorkers, WhatIsWrittenByHandIsEverybodysOrRefused) {
  for (const strategy::Strategy& s : synchronous()) {
    auto why = errors_of([&](job::Job& job, Numbered& own) {
      Trainer t(job, own.model, s, Sgd{.lr = 1}, {});
      t.step(own.weight.sum());
      t.write([&] { own.weight.fill_(10 + job.rank()); });
      EXPECT_TRUE(at::equal(own.weight.detach(), at::full({4, 2}, 10, at::kFloat))) << name(s);
      t.step(own.weight.sum());
      EXPECT_TRUE(at::equal(own.weight.detach(), at::full({4, 2}, 9, at::kFloat))) << name(s);
      own.weight.set_data(at::full({4, 2}, 3, at::kFloat));  // as torch::load does, on both
      t.step(own.weight.sum());
      EXPECT_TRUE(at::equal(own.weight.detach(), at::full({4, 2}, 2, at::kFloat))) << name(s) << own.weight;
    });
    EXPECT_EQ(why[0] + why[1], "") << name(s);
    why = errors_of([&](job::Job& job, Numbered& own) {
      Trainer t(job, own.model, s, Sgd{}, {});
      t.step(own.weight.sum());
      own.weight.set_data(at::full({4, 2}, 3 + job.rank(), at::kFloat));
      t.step(own.weight.sum());
    });
    EXPECT_TRUE(says(why[0], "the parameters' hash is")) << name(s) << why[0];
    why = errors_of([&](job::Job& job, Numbered& own) {
      Trainer t(job, own.model, s, Sgd{}, {});
      {
        at::NoGradGuard no_grad;
        if (job.rank() == 1) own.weight.mul_(2);
      }
      t.step(own.weight.sum());
    });
    EXPECT_TRUE(says(why[1], "parameter weight was written by hand")) << name(s) << why[1];
  }
}

TEST(TwoWorkers, AParameterUnusedAtOneOfThemHasTheOthersGradient) {
  job::with_workers(2, [](job::Job& job) {
    Numbered own(1);
    at::Tensor none = at::ones({2}).requires_grad_();
    own.model.parameters.emplace_back("none", none);
    own.model.parameters.emplace_back("tied", own.weight);
    Trainer t(job, own.model, strategy::AllReduce{}, {});
    const at::Tensor loss = job.rank() == 0 ? own.weight.sum() * 4 : at::zeros({}).requires_grad_();
    t.average(loss);
    EXPECT_TRUE(at::equal(own.weight.grad(), at::full({4, 2}, 2, at::kFloat))) << own.weight.grad();
    EXPECT_FALSE(none.grad().defined()) << "nobody has one";
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(TwoWorkers, AParameterUsedInOneSliceAloneHasItsGradient) {
  job::with_workers(2, [](job::Job& job) {
    Numbered own(1);
    at::Tensor once = at::ones({2}).requires_grad_();
    own.model.parameters.emplace_back("once", once);
    Trainer t(job, own.model, strategy::AllReduce{}, std::nullopt, {.slices = 6});
    for (int slice = 0; slice < 3; ++slice)  // of its three slices worker 0 makes two parts
      t.average(own.weight.sum() + (job.rank() == 0 && slice == 0 ? once.sum() * 12 : at::zeros({})));
    EXPECT_TRUE(once.grad().defined() && at::equal(once.grad(), at::full({2}, 2.f))) << once.grad();
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(TwoWorkers, WhatIsWrittenWithOtherStridesArrivesWithAnOptimizerOfTheirOwn) {
  job::with_workers(2, [](job::Job& job) {
    // 3 × 2, with columns contiguous.
    at::Tensor weight = at::arange(6, at::kFloat).reshape({2, 3}).t().detach().set_requires_grad(true);
    Model model;
    model.parameters = {{"weight", weight}};
    model.train = [](bool) {};
    Trainer t(job, model, strategy::AllReduce{}, {});
    t.write([&] { weight.set_data(at::arange(6, at::kFloat).reshape({3, 2})); });
    EXPECT_TRUE(at::equal(weight.detach(), at::arange(6, at::kFloat).reshape({3, 2}))) << weight;
    t.average((weight * at::arange(6, at::kFloat).reshape({3, 2})).sum());
    EXPECT_TRUE(at::equal(weight.grad(), at::arange(6, at::kFloat).reshape({3, 2}))) << weight.grad();
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(TwoWorkers, HaveTheBitsOfOneWithAnySlices) {
  const Line data(40);
  at::Tensor expected;
  for (int world : {1, 2, 3})
    for (const strategy::Strategy& s : synchronous())
      job::with_workers(world, [&](job::Job& job) {
        Numbered own(1);
        Trainer t(job, own.model, s, Adam{.lr = 0.1, .clip_norm = 0.5}, {.slices = 5});
        for (const data::Batch& b : t.batches(data, {.batch = 13, .steps = 6}))
          t.step((at::matmul(b.input.narrow(1, 0, 2), own.weight.t()) - b.target).square().mean());
        if (world == 1 && !expected.defined()) expected = own.weight.detach().clone();
        EXPECT_TRUE(at::equal(own.weight.detach(), expected)) << world << name(s);
        EXPECT_TRUE(job.close().ok());
      });
}

TEST(Join, ATaskThatIsToServeIsNoWorker) {
  job::JoinOptions options;
  options.role = transport::Role::server;
  options.servers = 1;
  try {
    (void)join(options);
    FAIL() << "it joined";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("cohaul launch --servers"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace cohaul::train
