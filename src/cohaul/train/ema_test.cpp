// Tests of moving averages of the parameters: compared with one process, in every strategy, and across checkpoints.

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>

#include "cohaul/base/temporary_folder.h"
#include "cohaul/job/test_workers.h"
#include "cohaul/observe/event.h"
#include "cohaul/train/run.h"
#include "cohaul/train/test_data.h"
#include "cohaul/train/trainer.h"
#include "cohaul/train/weights.h"

namespace cohaul::train {
namespace {

constexpr double kDecay = 0.75;
constexpr std::int64_t kSteps = 12;
const Line kData(40);

/// A large and two small parameters; one of them has a gradient in every third step only. Every fifth loss is not finite.
struct Net {
  Net() {
    model.parameters = {{"wide", wide}, {"bias", bias}, {"seldom", seldom}};
    model.train = [](bool) {};
  }
  at::Tensor loss(const data::Batch& batch, std::int64_t step) {
    const at::Tensor x = batch.input.flatten(1).mean(1, true).to(at::kDouble);
    at::Tensor out = ((x * wide.sum(0) + bias).tanh().mean() - 0.3).pow(2);
    if (step % 3 == 0) out = out + seldom.pow(2).sum() * 0.1;
    return step % 5 == 4 ? out * INFINITY : out;
  }
  static at::Tensor draw(at::IntArrayRef shape) {
    return ((at::arange(c10::multiply_integers(shape), at::kDouble).view(shape) * 0.37).sin() * 0.1)
        .set_requires_grad(true);
  }
  at::Tensor wide = draw({300, 70}), bias = draw({70}), seldom = draw({5});
  Model model;
};

struct Silent final : observe::Sink {
  void write(const observe::Event&) override {}
};

struct Way {
  int workers = 1;
  strategy::Strategy strategy = strategy::Single{};
  std::string name() const { return std::string(strategy::name(strategy)) + " " + std::to_string(workers); }
};
const std::vector<Way> kWays = {{1, strategy::Single{}},
                                {2, strategy::AllReduce{}},
                                {3, strategy::ParameterServer{.servers = 2}},
                                {3, strategy::AllReduce{}},
                                {2, strategy::ParameterServer{.servers = 3}}};

Optimizer adam() { return Adam{.lr = 0.05, .non_finite = NonFinite::skip}; }

struct End {
  std::vector<at::Tensor> parameters, averages;
  std::string parameters_hash, averages_hash;
  double loss = 0, loss_of_averages = 0;
};

std::vector<at::Tensor> copies(const NamedTensors& named) {
  std::vector<at::Tensor> out;
  for (const auto& [name, t] : named) out.push_back(t.detach().clone());
  return out;
}

double evaluate(Trainer& t, Net& net) {
  return t.evaluate(kData, [&](const data::Batch& b) { return net.loss(b, 0); }).loss;
}

/// Trains `steps` steps, and looks at the averages after every second one.
End train(const Way& way, double ema, std::int64_t steps = kSteps, const std::string& folder = {},
          bool resume = false) {
  End end;
  job::with_workers(way.workers, [&](job::Job& job) {
    Net net;
    Silent silent;
    Trainer t(job, net.model, way.strategy, adam(), {.slices = 4, .ema = ema, .sink = &silent});
    if (resume) {
      EXPECT_GT(t.resume(folder), 0);
    }
    std::int64_t done = t.steps_done();
    FitOptions fit{.batch = 8, .steps = kSteps};
    if (!folder.empty()) fit.checkpoint = {.folder = folder, .every = 1};
    for (const data::Batch& b : t.batches(kData, fit)) {
      if (!t.step(net.loss(b, done)).complete) continue;
      ++done;
      if (ema > 0 && done % 2 == 0) t.with_ema([&] { (void)evaluate(t, net); });
      if (done == steps) break;
    }
    End here;
    here.parameters = copies(t.parameters());
    here.parameters_hash = sha256(t.parameters());
    here.loss = evaluate(t, net);
    if (ema > 0)
      t.with_ema([&] {
        here.averages = copies(t.parameters());
        here.averages_hash = sha256(t.parameters());
        here.loss_of_averages = evaluate(t, net);
        const at::Tensor shown = net.wide.detach();
        EXPECT_TRUE(at::equal(shown, here.averages[0])) << "the model itself has them";
      });
    EXPECT_EQ(sha256(t.parameters()), here.parameters_hash);
    EXPECT_TRUE(at::equal(net.wide.detach(), here.parameters[0]));
    if (job.rank() == 0) end = here;
    EXPECT_TRUE(job.close().ok());
  });
  return end;
}

TEST(Ema, IsThatOfALoopOfOneProcessInEveryStrategy) {
  // The reference: a trainer without averages, whose parameters are averaged after each step by hand.
  std::vector<at::Tensor> average = copies(Net().model.parameters);
  for (std::int64_t done = 1; done <= kSteps; ++done) {
    if (done % 5 == 0) continue;  // that step was skipped
    const std::vector<at::Tensor> now = train(kWays[0], 0, done).parameters;
    for (std::size_t p = 0; p < now.size(); ++p) average[p] = kDecay * average[p] + (1 - kDecay) * now[p];
  }
  const End plain = train(kWays[0], 0), first = train(kWays[0], kDecay);
  for (std::size_t p = 0; p < average.size(); ++p)
    EXPECT_TRUE(at::allclose(first.averages[p], average[p], 1e-12, 1e-14)) << p;
  EXPECT_NE(first.averages_hash, first.parameters_hash);
  EXPECT_NE(first.loss, first.loss_of_averages);
  for (const Way& way : kWays) {
    const End end = train(way, kDecay);
    EXPECT_EQ(end.parameters_hash, plain.parameters_hash) << way.name() << ": training is as without averages";
    EXPECT_EQ(end.averages_hash, first.averages_hash) << way.name();
    EXPECT_EQ(end.loss, plain.loss) << way.name();
    EXPECT_EQ(end.loss_of_averages, first.loss_of_averages) << way.name();
  }
}

TEST(Ema, OverTcpToo) {
  const End one = train(kWays[0], kDecay);
  for (const strategy::Strategy& s :
       {strategy::Strategy{strategy::AllReduce{}}, strategy::Strategy{strategy::ParameterServer{.servers = 2}}}) {
    job::with_workers(
        2,
        [&](job::Job& job) {
          Net net;
          Silent silent;
          Trainer t(job, net.model, s, adam(), {.slices = 4, .ema = kDecay, .sink = &silent});
          std::int64_t done = 0;
          for (const data::Batch& b : t.batches(kData, {.batch = 8, .steps = kSteps}))
            if (t.step(net.loss(b, done)).complete) ++done;
          t.with_ema([&] { EXPECT_EQ(sha256(t.parameters()), one.averages_hash) << strategy::name(s); });
          EXPECT_EQ(sha256(t.parameters()), one.parameters_hash) << strategy::name(s);
          EXPECT_TRUE(job.close().ok());
        },
        5, transport::Form::tcp);
  }
}

TEST(Ema, GoesOnFromACheckpointWithOtherWorkers) {
  const End whole = train(kWays[0], kDecay);
  for (std::size_t first = 0; first < kWays.size(); ++first) {
    const Way &one = kWays[first], &other = kWays[(first + 1) % kWays.size()];
    const TemporaryFolder folder = *TemporaryFolder::make("ema");
    (void)train(one, kDecay, kSteps - 5, folder.path());
    const End rest = train(other, kDecay, kSteps, folder.path(), true);
    EXPECT_EQ(rest.averages_hash, whole.averages_hash) << one.name() << ", then " << other.name();
    EXPECT_EQ(rest.parameters_hash, whole.parameters_hash) << one.name() << ", then " << other.name();
  }
}

TEST(Ema, OfACheckpointIsThatOfTheRun) {
  const TemporaryFolder with = *TemporaryFolder::make("ema"), without = *TemporaryFolder::make("ema");
  (void)train(kWays[0], kDecay, 3, with.path());
  (void)train(kWays[0], 0, 3, without.path());
  const auto why = [&](const std::string& folder, double ema) {
    std::string said;
    job::with_workers(1, [&](job::Job& job) {
      Net net;
      Silent silent;
      Trainer t(job, net.model, strategy::Single{}, adam(), {.slices = 4, .ema = ema, .sink = &silent});
      (void)code_of([&] { (void)t.resume(folder); }, &said);
      EXPECT_TRUE(job.close().ok());
    });
    return said;
  };
  EXPECT_NE(why(with.path(), 0.5).find("its moving average has the decay 0.75, this run's 0.5"), std::string::npos);
  EXPECT_NE(why(with.path(), 0).find("set ema to 0.75"), std::string::npos);
  EXPECT_NE(why(without.path(), kDecay).find("its moving average has the decay 0, this run's 0.75"), std::string::npos);
  EXPECT_EQ(why(with.path(), kDecay), "");
}

TEST(Ema, RefusesToTrainAndToWriteAverages) {
  for (const Way& way : {kWays[0], kWays[1], kWays[2]})
    job::with_workers(way.workers, [&](job::Job& job) {
      Net net;
      Silent silent;
      Trainer t(job, net.model, way.strategy, adam(), {.slices = 4, .ema = kDecay, .sink = &silent});
      const auto loss = [&](const data::Batch& b) { return net.loss(b, 0); };
      t.with_ema([&] { EXPECT_TRUE(at::equal(net.wide.detach(), Net().wide.detach())) << "no update, no difference"; });
      t.fit(kData, loss, {.batch = 8, .steps = 2});
      const std::string before = sha256(t.parameters());
      std::string why;
      t.with_ema([&] {
        EXPECT_EQ(code_of([&] { t.fit(kData, loss, {.batch = 8, .steps = 1}); }, &why), Code::invalid);
        EXPECT_NE(why.find("a loop within with_ema(f)"), std::string::npos) << why;
        EXPECT_EQ(code_of([&] { t.step(net.loss(kData.get(std::vector<std::int64_t>{0}), 0)); }), Code::invalid);
        EXPECT_EQ(code_of([&] { t.write([] {}); }), Code::invalid);
        EXPECT_EQ(code_of([&] { t.with_ema([] {}); }), Code::invalid);
        EXPECT_EQ(code_of([&] { t.save_checkpoint("/tmp/none"); }), Code::invalid);
      });
      EXPECT_THROW(t.with_ema([] { throw std::runtime_error("the user's own"); }), std::runtime_error);
      EXPECT_EQ(sha256(t.parameters()), before) << "back also where f throws";
      t.fit(kData, loss, {.batch = 8, .steps = 1});
      EXPECT_NE(sha256(t.parameters()), before);
      EXPECT_EQ(code_of(
                    [&] {
                      t.with_ema([&] {
                        at::NoGradGuard none;
                        net.bias.add_(1);
                      });
                    },
                    &why),
                Code::invalid);
      EXPECT_NE(why.find("parameter bias was written within with_ema(f)"), std::string::npos) << why;
      EXPECT_EQ(code_of([&] { t.fit(kData, loss, {.batch = 8, .steps = 1}); }), Code::invalid)
          << "nothing is right any more";
    });
}

TEST(Ema, NeedsADecayAndAnOptimizer) {
  job::with_workers(1, [](job::Job& job) {
    Net net;
    const auto make = [&](double ema) {
      return code_of([&] { Trainer(job, net.model, strategy::Single{}, adam(), {.ema = ema}); });
    };
    EXPECT_EQ(make(1), Code::invalid);
    EXPECT_EQ(make(-0.1), Code::invalid);
    EXPECT_EQ(code_of([&] { Trainer(job, net.model, strategy::Single{}, std::nullopt, {.ema = 0.5}); }),
              Code::unsupported);
    Trainer t(job, net.model, strategy::Single{}, adam(), {});
    std::string why;
    EXPECT_EQ(code_of([&] { t.with_ema([] {}); }, &why), Code::invalid);
    EXPECT_NE(why.find("set TrainerOptions::ema"), std::string::npos) << why;
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(Ema, WorkersThatDifferAreTold) {
  job::with_workers(2, [](job::Job& job) {
    Net net;
    std::string why;
    EXPECT_EQ(
        code_of([&] { Trainer(job, net.model, strategy::AllReduce{}, adam(), {.ema = job.rank() == 0 ? 0.5 : 0.25}); },
                &why),
        Code::invalid);
    EXPECT_NE(why.find("ema is"), std::string::npos) << why;
  });
}

TEST(Ema, ServersAverageAtEachPushInAsynchronousModes) {
  for (const strategy::Strategy& s :
       {strategy::Strategy{strategy::ParameterServer{.servers = 2, .consistency = strategy::Asynchronous{}}},
        strategy::Strategy{strategy::ParameterServer{.servers = 3, .consistency = strategy::Bounded{1}}}})
    job::with_workers(2, [&](job::Job& job) {
      at::Tensor w = at::zeros({40'000}, at::kDouble).set_requires_grad(true);
      Model model;
      model.parameters = {{"w", w}};
      model.train = [](bool) {};
      Silent silent;
      Trainer t(job, model, s, Sgd{.lr = 1}, {.ema = 0.5, .sink = &silent});
      bool first = true;
      for ([[maybe_unused]] const data::Batch& b : t.batches(kData, {.batch = 2, .steps = 3})) {
        if (std::exchange(first, false)) {
          EXPECT_EQ(code_of([&] { t.with_ema([] {}); }), Code::invalid) << "within the loop";
        }
        t.step(-w.sum());
      }
      // The parameter is 0, then 1, 2, 3; its averages are 0.5, 1.25, 2.125, whichever worker pushed.
      t.with_ema([&] { EXPECT_TRUE(at::equal(w.detach(), at::full({40'000}, 2.125, at::kDouble))); });
      EXPECT_TRUE(at::equal(w.detach(), at::full({40'000}, 3.0, at::kDouble)));
      EXPECT_TRUE(job.close().ok());
    });
}

/// A parameter grows by 1 at each step, so its average is 0.5, 1.25, 2.125, 3.0625, …
TEST(Ema, FitEvaluatesAndKeepsTheAverages) {
  for (const Way& way : {kWays[0], kWays[1], kWays[2]})
    job::with_workers(way.workers, [&](job::Job& job) {
      at::Tensor w = at::zeros({1}, at::kDouble).set_requires_grad(true);
      bool training = true;
      Model model;
      model.parameters = {{"w", w}};
      model.train = [&](bool on) { training = on; };
      Silent silent;
      Trainer t(job, model, way.strategy, Sgd{.lr = 1}, {.slices = 3, .ema = 0.5, .sink = &silent});
      std::vector<double> seen;
      const Loss loss = [&](const data::Batch&) {
        if (training) return -w.sum();
        seen.push_back(w.item<double>());
        return (w - 2).square().sum();
      };
      t.fit(kData, loss,
            {.batch = 6, .steps = 4, .evaluation = {.set = &kData, .every = 1, .keep_best = true, .ema = true}});
      if (!seen.empty()) {
        EXPECT_EQ(seen, (std::vector<double>{0.5, 1.25, 2.125, 3.0625})) << way.name();
      }
      EXPECT_EQ(w.item<double>(), 2.125) << "of the best evaluation";
      EXPECT_EQ(code_of([&] {
                  Trainer other(job, model, way.strategy, Sgd{}, {.sink = &silent});
                  other.fit(kData, loss,
                            {.batch = 6, .steps = 1, .evaluation = {.set = &kData, .every = 1, .ema = true}});
                }),
                Code::invalid);
      EXPECT_TRUE(job.close().ok());
    });
}

}  // namespace
}  // namespace cohaul::train
