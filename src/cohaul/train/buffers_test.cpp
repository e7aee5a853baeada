// Tests of a model's buffers in a step: any number of workers gets what one process gets with the same slices.

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "cohaul/base/mutex.h"
#include "cohaul/job/test_workers.h"
#include "cohaul/train/test_data.h"
#include "cohaul/train/trainer.h"
#include "cohaul/update/tree_fold.h"

namespace cohaul::train {
namespace {

const std::vector<strategy::Strategy>& shared_strategies() {
  static const std::vector<strategy::Strategy> all{strategy::AllReduce{}, strategy::ParameterServer{.servers = 2}};
  return all;
}

/// A linear layer after a batch norm, with buffers of all kinds.
struct Normed {
  explicit Normed(std::int64_t start = 0) {
    model.parameters = {{"weight", weight}};
    model.buffers = {
        {"mean", mean}, {"count", count}, {"variance", variance}, {"constant", constant}, {"average", average}};
    model.train = [](bool) {};
    count.fill_(start);
    mean.fill_(static_cast<double>(start));
  }
  at::Tensor loss(const data::Batch& b) {
    const at::Tensor x = at::batch_norm(b.input, {}, {}, mean, variance, /*training=*/true, 0.1, 1e-5, false);
    count.add_(1);
    average.mul_(0.9).add_(b.input.detach().to(at::kDouble).mean(), 0.1);  // float64
    return (at::matmul(x, weight.t()) * constant - b.target).square().mean();
  }
  at::Tensor weight = at::full({4, 3}, 0.5, at::kFloat).set_requires_grad(true);
  at::Tensor mean = at::zeros({3}), variance = at::ones({3}), count = at::zeros({}, at::kLong);
  at::Tensor constant = at::full({1}, 0.1, at::kFloat), average = at::full({2}, 1.0 / 3, at::kDouble);
  Model model;
};

/// Computes the definition: every slice starts from the same buffers, then the mean is taken pair by pair.
template <class T>
std::vector<T> mean_of_slices(const std::vector<std::vector<T>>& slices) {
  struct Node {
    std::vector<T> values;
    double n = 1;
  };
  const auto combine = [](Node l, const Node& r) {
    for (std::size_t i = 0; i < l.values.size(); ++i) {
      const double a = l.values[i], b = r.values[i];
      if (a != b) l.values[i] = static_cast<T>(a + (b - a) * (r.n / (l.n + r.n)));
    }
    l.n += r.n;
    return l;
  };
  update::TreeFold<Node> fold;
  for (const auto& s : slices) fold.add(Node{s}, combine);
  return fold.take(combine)->values;
}

template <class T>
std::vector<T> values(const at::Tensor& t) {
  return {t.const_data_ptr<T>(), t.const_data_ptr<T>() + t.numel()};
}

TEST(Buffers, AreTheMeanOverSlicesOnAnyNumberOfWorkers) {
  const Line data(60);
  constexpr int kSlices = 5, kSteps = 4;
  // The first step, computed by hand. Without shuffling slice v has the batch's rows [13 v / 5, 13 (v + 1) / 5).
  std::vector<std::vector<float>> means;
  std::vector<std::vector<double>> averages;
  for (int v = 0; v < kSlices; ++v) {
    Normed own;
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 13 * v / kSlices; i < 13 * (v + 1) / kSlices; ++i) rows.push_back(i);
    own.loss(data.get(rows));
    means.push_back(values<float>(own.mean));
    averages.push_back(values<double>(own.average));
  }
  std::vector<std::vector<float>> seen;
  const auto run = [&](job::Job& job, const strategy::Strategy& s, bool own_optimizer) {
    Normed own(job.rank());  // all workers start with worker 0's buffers
    auto t = own_optimizer ? Trainer(job, own.model, s, std::nullopt, {.slices = kSlices})
                           : Trainer(job, own.model, s, Sgd{.lr = 0.1}, {.slices = kSlices});
    std::int64_t done = 0;
    for (const data::Batch& b : t.batches(data, {.batch = 13, .steps = kSteps, .shuffle = false})) {
      const StepResult r = own_optimizer ? t.average(own.loss(b)) : t.step(own.loss(b));
      if (!r.complete || ++done > 1) continue;
      EXPECT_EQ(values<float>(own.mean), mean_of_slices(means)) << job.world() << name(s);
      EXPECT_EQ(values<double>(own.average), mean_of_slices(averages)) << job.world() << name(s);
    }
    EXPECT_EQ(own.count.item<std::int64_t>(), kSteps) << "each slice counts on from the step's first count";
    EXPECT_EQ(own.constant.item<float>(), 0.1F) << "what no slice changes stays as it is";
    static Mutex mutex;
    if (const MutexLock lock(mutex); !own_optimizer) {
      seen.push_back(values<float>(own.mean));
      const std::vector<float> more = values<float>(own.variance), weights = values<float>(own.weight.detach());
      seen.back().insert(seen.back().end(), more.begin(), more.end());
      seen.back().insert(seen.back().end(), weights.begin(), weights.end());
    }
    EXPECT_TRUE(job.close().ok());
  };
  job::with_workers(1, [&](job::Job& job) { run(job, strategy::Single{}, false); });
  job::with_workers(1, [&](job::Job& job) { run(job, strategy::Single{}, true); });
  for (const int world : {2, 3, 5})
    for (const strategy::Strategy& s : shared_strategies())
      job::with_workers(world, [&](job::Job& job) { run(job, s, false); });
  job::with_workers(3, [&](job::Job& job) { run(job, strategy::AllReduce{}, true); });
  for (const auto& s : seen) EXPECT_EQ(s, seen.front());
}

TEST(Buffers, OfWorker0OrTheirOwnWhereAskedFor) {
  const Line data(24);
  for (const strategy::Strategy& s : shared_strategies())
    for (const Buffers policy : {Buffers::worker0, Buffers::own}) {
      std::vector<float> first(3);
      Mutex mutex;
      std::vector<std::vector<float>> all(3);
      job::with_workers(3, [&](job::Job& job) {
        Normed own;
        Trainer t(job, own.model, s, Sgd{.lr = 0.1}, {.buffers = policy});
        for (const data::Batch& b : t.batches(data, {.batch = 12, .steps = 1, .shuffle = false})) {
          at::Tensor loss = own.loss(b);
          if (job.rank() == 1) own.count.add_(7);
          if (job.rank() == 0) first = values<float>(own.mean);
          t.step(loss);
        }
        EXPECT_EQ(own.count.item<std::int64_t>(), policy == Buffers::own && job.rank() == 1 ? 8 : 1);
        if (const MutexLock lock(mutex); true) all[static_cast<std::size_t>(job.rank())] = values<float>(own.mean);
        EXPECT_TRUE(job.close().ok());
      });
      EXPECT_EQ(all[0], first);
      EXPECT_EQ(all[1] == first, policy == Buffers::worker0) << name(s);
      EXPECT_NE(all[0], std::vector<float>(3)) << "the running mean has moved";
    }
}

TEST(Buffers, WithoutAMeanMustAgree) {
  const Line data(24);
  for (const strategy::Strategy& s : shared_strategies())
    job::with_workers(2, [&](job::Job& job) {
      std::string why;
      EXPECT_EQ(code_of(
                    [&] {
                      Normed own;
                      Trainer t(job, own.model, s, Sgd{.lr = 0.1}, {});
                      for (const data::Batch& b : t.batches(data, {.batch = 12, .steps = 3})) {
                        at::Tensor loss = own.loss(b);
                        if (job.rank() == 1 && t.steps_done() == 1) own.count.add_(1);
                        t.step(loss);
                      }
                    },
                    &why),
                Code::invalid);
      EXPECT_NE(why.find("buffer count is 2 at worker 0 and 3 at worker 1"), std::string::npos) << name(s) << why;
      EXPECT_NE(why.find("after step 2"), std::string::npos) << why;
      (void)job.close().ok();
    });
  job::with_workers(1, [&](job::Job& job) {
    Normed own;
    Trainer t(job, own.model, strategy::Single{}, Sgd{.lr = 0.1}, {.slices = 2});
    std::string why;
    int slice = 0;
    EXPECT_EQ(code_of(
                  [&] {
                    for (const data::Batch& b : t.batches(data, {.batch = 12, .steps = 3})) {
                      at::Tensor loss = own.loss(b);
                      if (slice++ == 1) own.count.add_(1);
                      t.step(loss);
                    }
                  },
                  &why),
              Code::invalid);
    EXPECT_NE(why.find("buffer count is not the same after slice 1"), std::string::npos) << why;
    (void)job.close().ok();
  });
}

TEST(Buffers, AreUpdatedInStepsThatAreSkippedAndWrittenByHand) {
  const Line data(24);
  for (const strategy::Strategy& s : shared_strategies())
    job::with_workers(2, [&](job::Job& job) {
      Normed own;
      Trainer t(job, own.model, s, Sgd{.lr = 0.1, .clip_norm = 1, .non_finite = NonFinite::skip}, {});
      const std::vector<float> weights = values<float>(own.weight.detach());
      for (const data::Batch& b : t.batches(data, {.batch = 12, .steps = 2})) {
        at::Tensor loss = own.loss(b);
        const StepResult r = t.step(loss * std::numeric_limits<double>::infinity());
        EXPECT_TRUE(r.skipped);
        EXPECT_EQ(own.count.item<std::int64_t>(), r.update);
      }
      EXPECT_EQ(values<float>(own.weight.detach()), weights);
      EXPECT_NE(values<float>(own.mean), std::vector<float>(3));
      const Evaluation e = t.evaluate(
          data, [&](const data::Batch&) { return own.mean.sum(); }, {}, 5);
      EXPECT_FLOAT_EQ(static_cast<float>(e.loss), own.mean.sum().item<float>()) << "all have the same buffers";
      t.write([&] { own.mean.fill_(7), own.count.fill_(40); });
      EXPECT_EQ(values<float>(own.mean), std::vector<float>(3, 7)) << name(s);
      EXPECT_EQ(own.count.item<std::int64_t>(), 40) << name(s);
      EXPECT_TRUE(job.close().ok());
    });
}

/// In a loop of one's own the trainer learns that a step begins only when the first slice is answered.
TEST(Buffers, ThatAreReplacedBeforeAStepAreFollowedOrRefused) {
  job::with_workers(1, [](job::Job& job) {
    const Line data(24);
    const data::Batch b = data.get(std::vector<std::int64_t>{1, 2, 3, 4});
    for (const bool constant : {true, false}) {
      Normed own;
      Trainer t(job, own.model, strategy::Single{}, Sgd{.lr = 0.1}, {.slices = 3});
      for (int slice = 0; slice < 3; ++slice) t.step(own.loss(b));
      (constant ? own.constant : own.mean).set_data(at::full({constant ? 1 : 3}, 0.25, at::kFloat));
      std::string why;
      const Code code = code_of(
          [&] {
            for (int slice = 0; slice < 3; ++slice) t.step(own.loss(b));
          },
          &why);
      EXPECT_EQ(code, constant ? Code::ok : Code::invalid) << why;
      EXPECT_EQ(why.find("buffer mean was replaced") != std::string::npos, !constant) << why;
      EXPECT_EQ(own.constant.item<float>(), constant ? 0.25F : 0.1F);
    }
    (void)job.close().ok();
  });
}

/// The loop's next step had begun when the loop was left. It is given up at the trainer's next use, after a forward of the next loop.
TEST(Buffers, OfALoopThatWasLeftDoNotComeBack) {
  job::with_workers(1, [](job::Job& job) {
    const Line data(24);
    const data::Batch b = data.get(std::vector<std::int64_t>{1, 2, 3, 4});
    for (const int answered : {2, 3}) {  // number of slices
      Normed own, expected;
      Trainer t(job, own.model, strategy::Single{}, Sgd{.lr = 0.1}, {.slices = 2});
      int slice = 0;
      for (const data::Batch& batch : t.batches(data, {.batch = 12, .steps = 9})) {
        if (slice++ == answered) break;
        t.step(own.loss(batch));
      }
      expected.average.copy_(own.average);
      for (int i = 0; i < 2; ++i) t.step(own.loss(b));
      expected.loss(b);
      EXPECT_EQ(values<double>(own.average), values<double>(expected.average)) << answered;
      EXPECT_EQ(own.count.item<std::int64_t>(), 2);
    }
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(Buffers, ThatDifferAreNotEvaluatedInParts) {
  job::with_workers(2, [](job::Job& job) {
    Normed own;
    const Line data(24);
    Trainer t(job, own.model, strategy::AllReduce{}, Sgd{.lr = 0.1}, {});
    if (job.rank() == 1) own.loss({data.get(std::vector<std::int64_t>{1, 2, 3})});
    std::string why;
    EXPECT_EQ(code_of([&] { t.evaluate(data, [&](const data::Batch& b) { return own.loss(b); }); }, &why),
              Code::invalid);
    EXPECT_NE(why.find("buffers"), std::string::npos) << why;
    (void)job.close().ok();
  });
}

}  // namespace
}  // namespace cohaul::train
