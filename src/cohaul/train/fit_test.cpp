// Tests of fit() with evaluations: when it stops, which parameters remain, and that an interrupted run does the same.

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cohaul/base/temporary_folder.h"
#include "cohaul/job/test_workers.h"
#include "cohaul/observe/event.h"
#include "cohaul/train/test_data.h"
#include "cohaul/train/trainer.h"

namespace cohaul::train {
namespace {

const Line kData(24);

/// Its one parameter grows by 0.1 at each step, and a buffer counts. An evaluation's loss is smallest where the parameter is 1.
struct Climber {
  Climber() {
    model.parameters = {{"height", height}};
    model.buffers = {{"count", count}};
    model.train = [this](bool on) { training = on; };
  }
  Loss loss() {
    return [this](const data::Batch&) {
      if (!training) return (height - 1).square().sum();
      count.add_(1);
      return -height.sum();
    };
  }
  bool training = true;
  at::Tensor height = at::full({1}, 0.0, at::kDouble).set_requires_grad(true), count = at::zeros({}, at::kLong);
  Model model;
};

class Told final : public observe::Sink {
 public:
  void write(const observe::Event& event) override { events.push_back(event); }
  std::vector<std::int64_t> steps(const std::string& kind) const {
    std::vector<std::int64_t> out;
    for (const auto& e : events)
      if (e.kind == kind) out.push_back(static_cast<std::int64_t>(e.number("step").value_or(-1)));
    return out;
  }
  std::vector<observe::Event> events;
};

struct End {
  double height = 0;
  std::int64_t count = 0, updates = 0;
  std::vector<std::int64_t> evaluated, stopped;
};

/// Returns what worker 0 has at the end; all workers have the same parameters.
End climb(int workers, const strategy::Strategy& s, const FitOptions& options, const std::string& resume = {},
          std::int64_t broken_after = 0) {
  End end;
  job::with_workers(workers, [&](job::Job& job) {
    Climber net;
    Told told;
    Trainer t(job, net.model, s, Sgd{.lr = 0.1}, {.slices = 3, .sink = &told});
    if (!resume.empty()) t.resume(resume);
    const Loss loss = net.loss();
    struct Broken {};
    try {
      t.fit(
          kData,
          [&](const data::Batch& b) {
            if (broken_after > 0 && net.training && t.steps_done() == broken_after) throw Broken();
            return loss(b);
          },
          options);
    } catch (const Broken&) {
      return;
    }
    EXPECT_TRUE(net.training);
    const double height = net.height.item<double>();
    const Evaluation after = t.evaluate(kData, loss);
    EXPECT_NEAR(after.loss, (height - 1) * (height - 1), 1e-12) << "servers have what the model has";
    if (job.rank() == 0)
      end = {height, net.count.item<std::int64_t>(), t.steps_done(), told.steps("evaluation"),
             told.steps("stopped_early")};
    if (job.rank() == 0) end.evaluated.pop_back();
    EXPECT_TRUE(job.close().ok());
  });
  return end;
}

FitOptions options(std::int64_t steps, std::int64_t every, std::int64_t patience, bool keep_best) {
  return {.batch = 6,
          .steps = steps,
          .evaluation = {.set = &kData, .every = every, .patience = patience, .keep_best = keep_best}};
}

const std::vector<std::pair<int, strategy::Strategy>> kWays = {
    {1, strategy::Single{}}, {2, strategy::AllReduce{}}, {3, strategy::ParameterServer{.servers = 2}}};

TEST(Fit, EvaluatesAfterEverySoManyUpdatesAndTheLast) {
  for (const auto& [workers, s] : kWays) {
    const End end = climb(workers, s, options(10, 4, 0, false));
    EXPECT_EQ(end.evaluated, (std::vector<std::int64_t>{4, 8, 10})) << strategy::name(s);
    EXPECT_NEAR(end.height, 1.0, 1e-12);
    EXPECT_EQ(end.count, 10);
  }
}

TEST(Fit, StopsWhereItsPatienceEndsAndKeepsTheBest) {
  for (const auto& [workers, s] : kWays)
    for (const bool keep : {false, true}) {
      const End end = climb(workers, s, options(1'000, 2, 3, keep));
      EXPECT_EQ(end.updates, 16) << strategy::name(s);
      EXPECT_EQ(end.evaluated.size(), 8u);
      EXPECT_EQ(end.stopped, std::vector<std::int64_t>{16});
      EXPECT_NEAR(end.height, keep ? 1.0 : 1.6, 1e-12);
      EXPECT_EQ(end.count, keep ? 10 : 16) << "buffers are of the same step";
    }
}

TEST(Fit, ItsPatienceIsWithEvaluationsInARow) {
  job::with_workers(1, [](job::Job& job) {
    Climber net;
    Trainer t(job, net.model, strategy::Single{}, Sgd{.lr = 0.1}, {});
    const std::vector<double> losses = {5, 6, 7, 4, 6, 7, 8, 1, 1};
    const Loss climbs = net.loss();
    t.fit(
        kData,
        [&](const data::Batch& b) {
          if (net.training) return climbs(b);
          return at::full({}, losses.at(static_cast<std::size_t>(t.steps_done() - 1)), at::kDouble);
        },
        options(9, 1, 3, true));
    EXPECT_EQ(t.steps_done(), 7);
    EXPECT_NEAR(net.height.item<double>(), 0.4, 1e-12);
    EXPECT_TRUE(job.close().ok());
  });
}

/// The run is interrupted at some step and continued by other workers. The result is as if it had not been.
TEST(Fit, GoesOnFromACheckpointAsIfItHadNotBeenBroken) {
  for (std::int64_t broken = 1; broken < 16; broken += 3) {
    const TemporaryFolder folder = *TemporaryFolder::make("fit");
    FitOptions o = options(1'000, 2, 3, true);
    o.checkpoint = {.folder = folder.path(), .every = 2};
    climb(1, strategy::Single{}, o, {}, broken);
    End end = climb(2, strategy::AllReduce{}, o, folder.path());
    EXPECT_EQ(end.updates, 16) << broken;
    EXPECT_NEAR(end.height, 1.0, 1e-12) << broken;
    EXPECT_EQ(end.count, 10);
    EXPECT_EQ(end.stopped, std::vector<std::int64_t>{16});
    // A run that had ended has nothing left to do, and still returns its best parameters.
    end = climb(1, strategy::Single{}, o, folder.path());
    EXPECT_EQ(end.evaluated, std::vector<std::int64_t>{});
    EXPECT_NEAR(end.height, 1.0, 1e-12) << broken;
  }
}

/// Rates of a loop whose losses are known. The parameter moves by the rate at each step.
struct Descent {
  double height = 0;
  std::vector<double> rates;
};
/// Trains so that the evaluations after every second step have the losses 9, 5, 5, 5, 5, 4, 4, 4, 4, …
Descent descend(int workers, const strategy::Strategy& s, const Schedule& schedule, std::int64_t steps,
                const std::string& folder = {}, std::int64_t broken_after = 0) {
  Descent out;
  job::with_workers(workers, [&](job::Job& job) {
    Climber net;
    at::Tensor other = at::full({1}, 0.0, at::kDouble).set_requires_grad(true);
    net.model.parameters.emplace_back("other", other);
    Told told;
    const Sgd sgd{.lr = 1, .schedule = schedule, .groups = {{.match = {"other"}, .lr = 0.5}}};
    Trainer t(job, net.model, s, sgd, {.slices = 3, .sink = &told});
    if (!folder.empty()) t.resume(folder);
    struct Broken {};
    FitOptions o = options(steps, 2, 0, false);
    if (!folder.empty()) o.checkpoint = {.folder = folder, .every = 1};
    o.log_every = 1;
    try {
      t.fit(
          kData,
          [&](const data::Batch&) {
            const std::int64_t done = t.steps_done();
            if (broken_after > 0 && net.training && done == broken_after) throw Broken();
            if (net.training) return -net.height.sum() - other.sum();
            return at::full({}, done <= 2 ? 9 : done < 12 ? 5 : 4, at::kDouble);
          },
          o);
    } catch (const Broken&) {
      return;
    }
    EXPECT_NEAR(other.item<double>(), net.height.item<double>() / 2, 1e-12) << "groups keep their proportion";
    if (job.rank() == 0) {
      out.height = net.height.item<double>();
      for (const auto& e : told.events)
        if (e.kind == "step") out.rates.push_back(e.number("lr").value_or(-1));
    }
    EXPECT_TRUE(job.close().ok());
  });
  return out;
}

TEST(Fit, DrivesThePlateau) {
  // The loss is better after 2, 4 and 12, and not after 6 and 8, so the rate falls there. 10 is within the cooldown. It is not better after 14 and
  // 16.
  const Schedule schedule{.kind = Schedule::Kind::plateau, .min = 0.1, .factor = 0.25, .patience = 1, .cooldown = 1};
  std::vector<double> rates;
  for (int step = 1; step <= 20; ++step) rates.push_back(step <= 8 ? 1 : step <= 16 ? 0.25 : 0.1);
  for (const auto& [workers, s] : kWays) {
    const Descent end = descend(workers, s, schedule, 20);
    EXPECT_EQ(end.rates, rates) << strategy::name(s);
    EXPECT_NEAR(end.height, 8 + 8 * 0.25 + 4 * 0.1, 1e-12) << strategy::name(s);
  }
}

TEST(Fit, ThePlateauBeginsAfterTheWarmUp) {
  // The evaluations after 2 and 4 do not count; 6 is the first, and 8 and 10 are worse.
  const Schedule schedule{.kind = Schedule::Kind::plateau, .warmup_steps = 5, .factor = 0.5, .patience = 1};
  std::vector<double> rates = {1 / 6.0, 2 / 6.0, 3 / 6.0, 4 / 6.0, 5 / 6.0, 1, 1, 1, 1, 1, 0.5, 0.5};
  const Descent end = descend(1, strategy::Single{}, schedule, 12);
  ASSERT_EQ(end.rates.size(), rates.size());
  for (std::size_t k = 0; k < rates.size(); ++k) EXPECT_NEAR(end.rates[k], rates[k], 1e-12) << k;
}

TEST(Fit, ThePlateauGoesOnFromACheckpointOfAnyStep) {
  const Schedule schedule{.kind = Schedule::Kind::plateau, .min = 0.1, .factor = 0.25, .patience = 1, .cooldown = 1};
  for (std::int64_t broken = 1; broken < 20; ++broken) {
    const TemporaryFolder folder = *TemporaryFolder::make("plateau");
    descend(1, strategy::Single{}, schedule, 20, folder.path(), broken);
    const auto& [workers, s] = kWays[static_cast<std::size_t>(broken) % kWays.size()];
    EXPECT_NEAR(descend(workers, s, schedule, 20, folder.path()).height, 8 + 8 * 0.25 + 4 * 0.1, 1e-12) << broken;
  }
}

TEST(Plateau, OfALoopOfOnesOwnIsTold) {
  for (const auto& [workers, s] : kWays)
    job::with_workers(workers, [&](job::Job& job) {
      Climber net;
      const Sgd sgd{.lr = 1, .schedule = {.kind = Schedule::Kind::plateau, .factor = 0.5, .patience = 0}};
      Told told;
      Trainer t(job, net.model, s, sgd, {.slices = 3, .sink = &told});
      std::string why;
      EXPECT_EQ(code_of([&] { t.fit(kData, net.loss(), {.batch = 6, .steps = 1}); }, &why), Code::invalid);
      EXPECT_NE(why.find("the schedule plateau follows fit()'s evaluations"), std::string::npos) << why;
      for (const data::Batch& b : t.batches(kData, {.batch = 6, .steps = 4}))
        if (t.step(net.loss()(b)).complete) t.plateau(7);
      EXPECT_NEAR(net.height.item<double>(), 1 + 1 + 0.5 + 0.25, 1e-12);
      Trainer plain(job, net.model, s, Sgd{}, {.sink = &told});
      EXPECT_EQ(code_of([&] { plain.plateau(1); }), Code::invalid);
      EXPECT_TRUE(job.close().ok());
    });
}

TEST(Plateau, IsRefusedInAsynchronousModes) {
  job::with_workers(2, [](job::Job& job) {
    Climber net;
    const Sgd sgd{.schedule = {.kind = Schedule::Kind::plateau}};
    const strategy::ParameterServer s{.consistency = strategy::Asynchronous{}};
    std::string why;
    EXPECT_EQ(code_of([&] { Trainer(job, net.model, s, sgd, {}); }, &why), Code::unsupported);
    EXPECT_NE(why.find("the schedule plateau follows evaluations"), std::string::npos) << why;
  });
}

TEST(Fit, RefusesWhatMakesNoSense) {
  job::with_workers(1, [](job::Job& job) {
    Climber net;
    Trainer t(job, net.model, strategy::Single{}, Sgd{.lr = 0.1}, {});
    const auto refused = [&](const FitOptions& o) { return code_of([&] { t.fit(kData, net.loss(), o); }); };
    FitOptions o = options(4, 1, 1, true);
    o.evaluation.set = nullptr;
    EXPECT_EQ(refused(o), Code::invalid);
    EXPECT_EQ(refused(options(4, 0, 0, false)), Code::invalid);
    EXPECT_EQ(refused(options(4, 1, -1, false)), Code::invalid);
    EXPECT_EQ(code_of([&] { t.batches(kData, options(4, 1, 1, true)); }), Code::invalid);
    EXPECT_EQ(code_of([&] { t.value("fit.best"); }), Code::invalid);
    EXPECT_EQ(refused(options(4, 1, 0, false)), Code::ok);
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(Values, AreEachWorkersOwnAfterAResumeByAsManyAndWorkerZerosElse) {
  const TemporaryFolder folder = *TemporaryFolder::make("values");
  const std::string bytes("7\0\xff of worker ", 14);
  for (const int workers : {2, -2, -3, -1})
    job::with_workers(std::abs(workers), [&](job::Job& job) {
      const bool resume = workers < 0;
      const std::string mine = std::to_string(job.rank());
      Climber net;
      Trainer t(job, net.model, strategy::AllReduce{}, Sgd{.lr = 0.1}, {.slices = 3});
      std::string& level = t.value("level");
      EXPECT_EQ(level, "");
      if (resume) t.resume(folder.path());
      EXPECT_EQ(level, !resume ? "" : bytes + (workers == -2 ? mine : "0")) << workers;
      if (!resume) {
        level = bytes + mine;
        t.save_checkpoint(folder.path());
      }
      EXPECT_TRUE(job.close().ok());
    });
}

}  // namespace
}  // namespace cohaul::train
