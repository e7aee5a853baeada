// Tests of SyncBatchNorm: workers that each have a part of the batch train like one process that has the whole batch.

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include "cohaul/collective/workers.h"
#include "cohaul/job/test_workers.h"
#include "cohaul/parallel/sync_batch_norm.h"
#include "cohaul/train/run.h"
#include "cohaul/train/test_data.h"
#include "cohaul/train/trainer.h"

namespace cohaul::train {
namespace {

/// Convolution, norm over images, linear layer, norm over features. Norm1d and Norm2d: LibTorch's, or ours.
template <class Norm1d, class Norm2d>
struct NetImpl : torch::nn::Module {
  NetImpl(Norm1d n1, Norm2d n2) : norm1(n1), norm2(n2) {
    conv = register_module("conv", torch::nn::Conv2d(1, 6, 3));
    linear = register_module("linear", torch::nn::Linear(6, 4));
    register_module("norm1", norm1);
    register_module("norm2", norm2);
    to(torch::kDouble);
    // The workers of this test are threads, which share one random generator, so the weights are not random.
    at::NoGradGuard no_grad;
    double first = 1;
    for (at::Tensor& p : parameters())
      p.copy_((torch::arange(p.numel(), torch::kDouble) * 1.3 + first++).sin().mul(0.4).view_as(p));
  }
  at::Tensor forward(const at::Tensor& x) {
    const at::Tensor h = torch::relu(norm2(conv(x))).mean({2, 3});
    return norm1(linear(h)).pow(3).mean(1);
  }
  torch::nn::Conv2d conv{nullptr};
  torch::nn::Linear linear{nullptr};
  Norm1d norm1;
  Norm2d norm2;
};

/// 30 images of 6 × 5, float64.
class Images final : public data::DataSet {
 public:
  std::int64_t size() const override { return 30; }
  data::Batch get(std::span<const std::int64_t> indices) const override {
    std::vector<at::Tensor> x;
    for (const std::int64_t i : indices)
      x.push_back((torch::arange(30, torch::kDouble) * 0.7 + static_cast<double>(i * i)).sin().view({1, 6, 5}));
    return {torch::stack(x), {}};
  }
};

constexpr double kDistance = 1e-10;

std::map<std::string, at::Tensor> state(torch::nn::Module& net) {
  std::map<std::string, at::Tensor> out;
  for (const auto& p : net.named_parameters()) out[p.key()] = p.value().detach().clone();
  for (const auto& b : net.named_buffers()) out[b.key()] = b.value().to(torch::kDouble);
  return out;
}

template <class Net>
double loss_after(Trainer& t, Net& net, std::vector<double>& losses) {
  const Images images;
  for (const data::Batch& b : t.batches(images, {.batch = 13, .steps = 6})) {
    const StepResult r = t.step((net->forward(b.input) - 0.5).square().mean());
    if (r.complete) losses.push_back(r.loss);
  }
  return t.evaluate(images, [&](const data::Batch& b) { return (net->forward(b.input) - 0.5).square().mean(); }).loss;
}

TEST(SyncBatchNorm, IsThatOfTheWholeBatch) {
  using Theirs = NetImpl<torch::nn::BatchNorm1d, torch::nn::BatchNorm2d>;
  using Ours = NetImpl<parallel::SyncBatchNorm1d, parallel::SyncBatchNorm2d>;
  std::map<std::string, at::Tensor> expected;
  std::vector<double> losses;
  double evaluated = 0;
  job::with_workers(1, [&](job::Job& job) {
    auto net = std::make_shared<Theirs>(torch::nn::BatchNorm1d(4), torch::nn::BatchNorm2d(6));
    Trainer t(job, net, strategy::Single{}, Adam{.lr = 0.01, .eps = 1e-4}, {.slices = 1});
    evaluated = loss_after(t, net, losses);
    expected = state(*net);
    EXPECT_TRUE(job.close().ok());
  });
  ASSERT_EQ(losses.size(), 6u);
  for (const int world : {1, 2, 3})
    for (const strategy::Strategy& s :
         {strategy::Strategy{strategy::AllReduce{}}, strategy::Strategy{strategy::ParameterServer{.servers = 2}}})
      job::with_workers(world, [&](job::Job& job) {
        auto workers = collective::connect_workers(job, "norms");
        auto net = std::make_shared<Ours>(parallel::SyncBatchNorm1d(4, &workers->group()),
                                          parallel::SyncBatchNorm2d(6, &workers->group()));
        Trainer t(job, net, s, Adam{.lr = 0.01, .eps = 1e-4}, {});
        std::vector<double> seen;
        EXPECT_NEAR(loss_after(t, net, seen), evaluated, kDistance) << world << name(s);
        ASSERT_EQ(seen.size(), losses.size());
        for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_NEAR(seen[i], losses[i], kDistance) << world << name(s);
        for (const auto& [key, value] : state(*net))
          EXPECT_LT((value - expected.at(key)).abs().max().template item<double>(), kDistance)
              << world << name(s) << key;
        EXPECT_TRUE(job.close().ok());
      });
}

TEST(SyncBatchNorm, IsRefusedWhereAWorkerHasNotOneSliceOfEachStep) {
  struct Case {
    strategy::Strategy strategy;
    int slices;
  };
  for (const Case& c : {Case{strategy::AllReduce{}, 4}, Case{strategy::ParameterServer{}, 3},
                        Case{strategy::ParameterServer{.consistency = strategy::Asynchronous{}}, 0}})
    job::with_workers(2, [&](job::Job& job) {
      auto workers = collective::connect_workers(job, "norms");
      parallel::SyncBatchNorm1d norm(3, &workers->group());
      std::string why;
      EXPECT_EQ(code_of([&] { Trainer t(job, norm, c.strategy, Sgd{.lr = 0.1}, {.slices = c.slices}); }, &why),
                Code::unsupported);
      EXPECT_NE(why.find("one slice"), std::string::npos) << why;
      EXPECT_TRUE(job.close().ok());
    });
  job::with_workers(1, [&](job::Job& job) {
    parallel::SyncBatchNorm1d norm(3);
    EXPECT_EQ(code_of([&] { Trainer t(job, norm, strategy::Single{}, Sgd{.lr = 0.1}, {.slices = 2}); }),
              Code::unsupported);
    EXPECT_THROW(norm(torch::ones({4, 2})), std::invalid_argument);
    EXPECT_THROW(norm(torch::ones({1, 3})), std::invalid_argument) << "one value has no variance";
    EXPECT_THROW(parallel::SyncBatchNorm1d(torch::nn::BatchNorm1dOptions(3).track_running_stats(false)),
                 std::invalid_argument);
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(SyncBatchNorm, HasNoGradientOfItsGradient) {
  parallel::SyncBatchNorm1d norm(3);
  const at::Tensor x = torch::rand({5, 3}).requires_grad_();
  const at::Tensor y = norm(x).pow(2).sum();
  EXPECT_THROW(torch::autograd::grad({y}, {x}, {}, std::nullopt, /*create_graph=*/true), std::runtime_error);
}

}  // namespace
}  // namespace cohaul::train
