// Tests of TrainerOptions::watch_gradients: norms are the same in every synchronous strategy, on any number of workers.

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "cohaul/base/temporary_folder.h"
#include "cohaul/job/test_workers.h"
#include "cohaul/observe/event.h"
#include "cohaul/train/test_data.h"
#include "cohaul/train/trainer.h"

namespace cohaul::train {
namespace {

constexpr int kSlices = 5;
constexpr std::int64_t kBatch = 13, kSteps = 7, kWatch = 3;

/// Two layers, of which the first has many partitions, and a parameter that the loss does not need.
struct Net {
  Net() {
    wide.set_requires_grad(true), bias.set_requires_grad(true), out.set_requires_grad(true);
    unused.set_requires_grad(true);
    model.parameters = {{"wide.weight", wide}, {"wide.bias", bias}, {"unused", unused}, {"out.weight", out}};
    model.buffers = {{"mean", mean}};
    model.train = [](bool) {};
  }
  at::Tensor loss(const data::Batch& b) {
    const at::Tensor hidden = at::matmul(b.input, wide.t()) + bias;
    {
      at::NoGradGuard no_grad;
      mean.mul_(0.9).add_(hidden.mean(), 0.1);
    }
    return (at::matmul(hidden.tanh(), out.t()) - b.target).square().mean();
  }
  at::Tensor wide = at::linspace(-1, 1, 30'000 * 3, at::kFloat).sin().reshape({30'000, 3});
  at::Tensor bias = at::full({30'000}, 0.01, at::kFloat), unused = at::full({7}, 1, at::kFloat);
  at::Tensor out = at::linspace(-2, 3, 30'000, at::kFloat).cos().mul(1e-2).reshape({1, 30'000});
  at::Tensor mean = at::zeros({40'000}, at::kFloat);
  Model model;
};

using Norms = std::map<std::string, double>;

/// Collects the events "gradients" of a run, by update.
struct Seen final : observe::Sink {
  void write(const observe::Event& event) override {
    if (event.kind != "gradients") return;
    const observe::Figures figures = observe::gradient_norms(event);
    norms[static_cast<std::int64_t>(*event.number("step"))] = Norms(figures.begin(), figures.end());
  }
  std::map<std::int64_t, Norms> norms;
};

/// Computes the norms with LibTorch alone, in one process. Without shuffling step s has the samples s · batch + i, and slice v of them [13 v / 5, 13
/// (v + 1) / 5).
std::map<std::int64_t, Norms> by_hand(const Line& data, double lr) {
  Net net;
  std::map<std::int64_t, Norms> out;
  for (std::int64_t step = 0; step < kSteps; ++step) {
    for (std::int64_t v = 0; v < kSlices; ++v) {
      std::vector<std::int64_t> rows;
      for (std::int64_t i = kBatch * v / kSlices; i < kBatch * (v + 1) / kSlices; ++i)
        rows.push_back((step * kBatch + i) % data.size());
      (net.loss(data.get(rows)) * (static_cast<double>(rows.size()) / static_cast<double>(kBatch))).backward();
    }
    at::NoGradGuard no_grad;
    for (auto& [name, p] : net.model.parameters) {
      if (!p.grad().defined()) continue;
      out[step + 1][name] = p.grad().to(at::kDouble).norm().item<double>();
      p.sub_(p.grad(), lr);
      p.mutable_grad().reset();
    }
  }
  return out;
}

void expect_near(const std::map<std::int64_t, Norms>& seen, const std::map<std::int64_t, Norms>& expected) {
  std::vector<std::int64_t> updates;
  for (const auto& [update, norms] : seen) {
    updates.push_back(update);
    ASSERT_EQ(norms.size(), 3U) << "the unused one has no gradient";
    for (const auto& [name, norm] : norms) {
      ASSERT_TRUE(expected.at(update).contains(name)) << name;
      EXPECT_NEAR(norm, expected.at(update).at(name), 1e-4 * norm) << name << ", update " << update;
      EXPECT_GT(norm, 1e-6) << name;
    }
  }
  EXPECT_EQ(updates, (std::vector<std::int64_t>{1, 3, 6})) << "the first, and every third";
}

/// Runs the job on several workers, and adds the events of worker 0 to `all`.
struct Runs {
  std::vector<std::map<std::int64_t, Norms>> all;
  void run(int world, const strategy::Strategy& s, const Sgd& rule, bool samples = false) {
    Seen seen;
    job::with_workers(world, [&](job::Job& job) {
      const Line data(60);
      Net own;
      Seen others;
      TrainerOptions options{.slices = kSlices, .watch_gradients = kWatch};
      options.sink = job.rank() == 0 ? &seen : &others;
      Trainer t(job, own.model, s, rule, options);
      for (const data::Batch& b : t.batches(data, {.batch = kBatch, .steps = kSteps, .shuffle = false}))
        t.step(own.loss(b), {.samples = samples ? static_cast<double>(b.input.size(0)) : 0});
      EXPECT_TRUE(job.close().ok());
      EXPECT_TRUE(others.norms.empty()) << "worker 0 tells";
    });
    all.push_back(seen.norms);
  }
  void run_all(const Sgd& rule, bool samples = false) {
    run(1, strategy::Single{}, rule, samples);
    for (const int world : {1, 2, 3}) {
      run(world, strategy::AllReduce{}, rule, samples);
      for (const int servers : {1, 3}) run(world, strategy::ParameterServer{.servers = servers}, rule, samples);
    }
  }
};

TEST(WatchGradients, NormsAreLibTorchsWithTheSameBitsOnAnyNumberOfWorkers) {
  Runs runs;
  runs.run_all(Sgd{.lr = 1e-5});
  expect_near(runs.all.front(), by_hand(Line(60), 1e-5));
  for (const auto& norms : runs.all) EXPECT_EQ(norms, runs.all.front());
}

TEST(WatchGradients, NormsAreThoseBeforeClipping) {
  Runs runs;
  runs.run_all(Sgd{.lr = 0, .clip_norm = 1e-3});
  expect_near(runs.all.front(), by_hand(Line(60), 0));
  for (const auto& norms : runs.all) EXPECT_EQ(norms, runs.all.front());
}

TEST(WatchGradients, OfSlicesThatAreWeighedBySamples) {
  Runs runs;
  runs.run_all(Sgd{.lr = 1e-5}, true);
  expect_near(runs.all.front(), by_hand(Line(60), 1e-5));
  for (const auto& norms : runs.all) EXPECT_EQ(norms, runs.all.front());
}

TEST(WatchGradients, ChangesNoParameter) {
  const auto trained = [](int world, const strategy::Strategy& s, std::int64_t watch) {
    at::Tensor out;
    job::with_workers(world, [&](job::Job& job) {
      const Line data(60);
      Net own;
      Seen seen;
      Trainer t(job, own.model, s, Sgd{.lr = 1e-5}, {.slices = kSlices, .watch_gradients = watch, .sink = &seen});
      for (const data::Batch& b : t.batches(data, {.batch = kBatch, .steps = kSteps})) t.step(own.loss(b));
      EXPECT_EQ(seen.norms.empty(), watch == 0 || job.rank() != 0);
      if (job.rank() == 0) out = own.wide.detach().clone();
      EXPECT_TRUE(job.close().ok());
    });
    return out;
  };
  const at::Tensor expected = trained(1, strategy::Single{}, 0);
  EXPECT_TRUE(trained(1, strategy::Single{}, 2).equal(expected));
  EXPECT_TRUE(trained(2, strategy::AllReduce{}, 2).equal(expected));
  EXPECT_TRUE(trained(2, strategy::ParameterServer{.servers = 2}, 2).equal(expected));
}

TEST(WatchGradients, OfAnOptimizerOfOnesOwnAndALoopOfOnesOwn) {
  job::with_workers(2, [](job::Job& job) {
    Net own;
    Seen seen;
    const Line data(60);
    TrainerOptions options{.slices = 2, .watch_gradients = 1};
    options.sink = &seen;
    Trainer t(job, own.model, strategy::AllReduce{}, std::nullopt, options);
    const std::vector<std::int64_t> rows{job.rank(), job.rank() + 7};
    t.average(own.loss(data.get(rows)));
    if (job.rank() == 0) {
      ASSERT_EQ(seen.norms.size(), 1U);
      EXPECT_NEAR(seen.norms.at(1).at("wide.bias"), own.bias.grad().norm().item<double>(), 1e-5);
    }
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(WatchGradients, RefusedWhereNobodyKnowsThem) {
  job::with_workers(1, [](job::Job& job) {
    Net own;
    const auto refusal = [&](const strategy::Strategy& s, std::int64_t watch, Code code) {
      std::string why;
      EXPECT_EQ(code_of([&] { Trainer(job, own.model, s, Sgd{}, {.watch_gradients = watch}); }, &why), code);
      return why;
    };
    EXPECT_NE(
        refusal(strategy::ParameterServer{.consistency = strategy::Asynchronous{}}, 1, Code::unsupported)
            .find("TrainerOptions::watch_gradients tells norms of the whole batch's gradients, which asynchronous"),
        std::string::npos);
    EXPECT_NE(refusal(strategy::ParameterServer{.consistency = strategy::Bounded{1}}, 1, Code::unsupported), "");
    EXPECT_NE(refusal(strategy::Tensor{}, 1, Code::unsupported).find("under tensor"), std::string::npos);
    EXPECT_NE(refusal(strategy::Single{}, -1, Code::invalid).find("watch_gradients is -1"), std::string::npos);
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(WatchGradients, AllWorkersSayTheSame) {
  for (const strategy::Strategy& s :
       {strategy::Strategy{strategy::AllReduce{}}, strategy::Strategy{strategy::ParameterServer{}}})
    job::with_workers(2, [&](job::Job& job) {
      Net own;
      std::string why;
      EXPECT_EQ(code_of([&] { Trainer(job, own.model, s, Sgd{}, {.watch_gradients = 1 + job.rank()}); }, &why),
                Code::invalid);
      EXPECT_NE(why.find("watch_gradients is 1 at worker 0 and 2 at worker 1"), std::string::npos) << why;
    });
}

TEST(WatchGradients, AResumedRunCountsOn) {
  for (const strategy::Strategy& s :
       {strategy::Strategy{strategy::AllReduce{}}, strategy::Strategy{strategy::ParameterServer{.servers = 2}}}) {
    auto folder = TemporaryFolder::make("cohaul-watch");
    ASSERT_TRUE(folder.ok());
    Seen whole, broken, resumed;
    const auto run = [&](std::int64_t steps, Seen& seen) {
      job::with_workers(2, [&](job::Job& job) {
        const Line data(60);
        Net own;
        Seen others;
        TrainerOptions options{.slices = kSlices, .watch_gradients = kWatch};
        options.sink = job.rank() == 0 ? &seen : &others;
        Trainer t(job, own.model, s, Sgd{.lr = 1e-5}, options);
        if (&seen != &whole) t.resume(folder->path());
        FitOptions loop{.batch = kBatch, .steps = kSteps};
        if (&seen != &whole) loop.checkpoint = {.folder = folder->path(), .every = 4};
        for (const data::Batch& b : t.batches(data, loop)) {
          t.step(own.loss(b));
          if (t.steps_done() == steps) break;
        }
        EXPECT_TRUE(job.close().ok());
      });
    };
    run(kSteps, whole), run(4, broken), run(kSteps, resumed);
    ASSERT_TRUE(whole.norms.contains(6) && resumed.norms.contains(6));
    EXPECT_EQ(resumed.norms.size(), 1U) << "of updates 5 to 7 the sixth alone";
    EXPECT_EQ(resumed.norms[6], whole.norms[6]);
  }
}

}  // namespace
}  // namespace cohaul::train
