#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>

#include <cmath>

#include "cohaul/base/error.h"
#include "cohaul/parallel/cross_entropy.h"
#include "cohaul/parallel/factory.h"
#include "cohaul/parallel/linear.h"
#include "cohaul/parallel/thread_group_test.h"

namespace cohaul::parallel {
namespace {

double distance(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return a.numel() == 0 ? 0 : (a - b).abs().max().item<double>();
}

TEST(Linear, IsPyTorchs) {
  at::manual_seed(3);
  torch::nn::LinearImpl theirs(20, 7);
  at::manual_seed(3);
  auto ours = whole_layers()->linear(20, 7, LinearKind::classes);
  EXPECT_TRUE(ours->weight.equal(theirs.weight));
  EXPECT_TRUE(ours->bias.equal(theirs.bias));
  at::Tensor x = at::randn({5, 20});
  EXPECT_TRUE(ours->forward(x).equal(theirs.forward(x)));
  auto names = ours->named_parameters();
  ASSERT_EQ(names.size(), 2u);
  EXPECT_EQ(names[0].key(), "weight");
  EXPECT_EQ(names[1].key(), "bias");
  EXPECT_TRUE(split_parameters(*ours).empty());
}

/// Compares one step of hidden layer, split layer and loss on `ranks` ranks with a model that is not split.
void compare(int ranks, std::int64_t classes) {
  SCOPED_TRACE(std::to_string(ranks) + " ranks, " + std::to_string(classes) + " classes");
  constexpr std::int64_t kIn = 12, kRows = 9;
  at::manual_seed(1);
  at::Tensor x = at::randn({kRows, kIn}), target = at::randint(classes, {kRows}, at::kLong);
  target[0] = 0;
  target[1] = classes - 1;

  auto whole = whole_layers();
  at::manual_seed(5);
  auto layer = whole->linear(kIn, classes, LinearKind::classes);
  at::Tensor x_whole = x.clone().requires_grad_();
  at::Tensor logits = layer->forward(x_whole), loss = whole->cross_entropy(logits, target, classes);
  (loss * 3).backward();
  at::Tensor argmax = whole->argmax(logits, classes);

  ThreadGroups groups(ranks);
  std::vector<std::unique_ptr<Factory>> factories;
  std::vector<std::shared_ptr<Linear>> layers;
  for (auto& group : groups.ranks) {
    at::manual_seed(5);
    factories.push_back(tensor_parallel_layers(*group));
    layers.push_back(factories.back()->linear(kIn, classes, LinearKind::classes));
  }
  std::vector<at::Tensor> losses(static_cast<std::size_t>(ranks)), inputs = losses;
  double tolerance = ranks == 1 ? 0 : 1e-6;
  groups.run([&](int rank) {
    auto r = static_cast<std::size_t>(rank);
    auto mine = layers[r];
    Part part = mine->outputs();
    EXPECT_EQ(part, part_of(classes, rank, ranks));
    EXPECT_TRUE(mine->weight.equal(layer->weight.narrow(0, part.begin, part.size())));
    inputs[r] = x.clone().requires_grad_();
    at::Tensor part_logits = mine->forward(inputs[r]);
    losses[r] = factories[r]->cross_entropy(part_logits, target, classes);
    (losses[r] * 3).backward();
    EXPECT_LE(distance(losses[r], loss), tolerance);
    EXPECT_LE(distance(inputs[r].grad(), x_whole.grad()), tolerance);
    EXPECT_LE(distance(mine->weight.grad(), layer->weight.grad().narrow(0, part.begin, part.size())), tolerance);
    EXPECT_LE(distance(mine->bias.grad(), layer->bias.grad().narrow(0, part.begin, part.size())), tolerance);
    EXPECT_TRUE(factories[r]->argmax(part_logits, classes).equal(argmax));
    auto gathered = gather_whole(mine->weight, part, *groups.ranks[r]);
    EXPECT_TRUE(gathered.ok() && gathered->equal(layer->weight.detach()));
  });
  for (std::size_t r = 1; r < losses.size(); ++r) {
    EXPECT_TRUE(losses[r].equal(losses[0])) << "the same bits on every rank";
    EXPECT_TRUE(inputs[r].grad().equal(inputs[0].grad()));
  }
}

TEST(TensorParallel, EqualsTheWhole) {
  for (int ranks : {1, 2, 3, 4}) {
    for (std::int64_t classes : {3, 10, 11}) compare(ranks, classes);
  }
}

TEST(TensorParallel, OneExchangeForwardAndOneBackward) {
  ThreadGroups groups(2);
  std::vector<std::shared_ptr<Linear>> layers;
  std::vector<std::unique_ptr<Factory>> factories;
  for (auto& g : groups.ranks) {
    factories.push_back(tensor_parallel_layers(*g));
    layers.push_back(factories.back()->linear(4, 6, LinearKind::classes));
  }
  for (bool inner : {false, true}) {
    groups.meeting.calls = 0;
    groups.run([&](int rank) {
      auto r = static_cast<std::size_t>(rank);
      at::Tensor x = at::ones({2, 4}).requires_grad_(inner), target = at::zeros({2}, at::kLong);
      factories[r]->cross_entropy(layers[r]->forward(x), target, 6).backward();
    });
    EXPECT_EQ(groups.meeting.calls, inner ? 2 : 1) << "an input without gradient needs no exchange of it";
  }
}

TEST(SplitCrossEntropy, GradientIsTheDifferenceQuotient) {
  constexpr std::int64_t kClasses = 5;
  at::manual_seed(2);
  at::Tensor logits = at::randn({3, kClasses}, at::kDouble), target = at::full({3}, 4, at::kLong);
  target[0] = 1;
  ThreadGroups groups(2);
  auto loss_at = [&](const at::Tensor& all) {
    double loss = 0;
    groups.run([&](int rank) {
      Part p = part_of(kClasses, rank, 2);
      double mine =
          cross_entropy(all.narrow(1, p.begin, p.size()), target, p, *groups.ranks[static_cast<std::size_t>(rank)])
              .item<double>();
      if (rank == 0) loss = mine;
    });
    return loss;
  };
  at::Tensor gradient = at::zeros_like(logits);
  groups.run([&](int rank) {
    Part p = part_of(kClasses, rank, 2);
    at::Tensor mine = logits.narrow(1, p.begin, p.size()).clone().requires_grad_();
    cross_entropy(mine, target, p, *groups.ranks[static_cast<std::size_t>(rank)]).backward();
    gradient.narrow(1, p.begin, p.size()).copy_(mine.grad());
  });
  constexpr double kStep = 1e-6;
  for (std::int64_t i = 0; i < 3; ++i) {
    for (std::int64_t j = 0; j < kClasses; ++j) {
      at::Tensor up = logits.clone(), down = logits.clone();
      up[i][j] += kStep;
      down[i][j] -= kStep;
      EXPECT_NEAR(gradient[i][j].item<double>(), (loss_at(up) - loss_at(down)) / (2 * kStep), 1e-8);
    }
  }
}

TEST(SplitCrossEntropy, LargeLogitsDoNotOverflow) {
  ThreadGroups groups(2);
  groups.run([&](int rank) {
    at::Tensor mine = at::full({1, 2}, rank == 0 ? 1e4 : -1e4), target = at::zeros({1}, at::kLong);
    double loss =
        cross_entropy(mine, target, part_of(4, rank, 2), *groups.ranks[static_cast<std::size_t>(rank)]).item<double>();
    EXPECT_NEAR(loss, std::log(2.0), 1e-6);
  });
}

TEST(SplitArgmax, LowestOfEqualsWins) {
  ThreadGroups groups(3);
  at::Tensor logits = at::zeros({4, 6});
  logits[1][2] = logits[1][5] = 1.0;
  logits[2][4] = 2.0;
  logits[3] = -INFINITY;
  groups.run([&](int rank) {
    Part p = part_of(6, rank, 3);
    at::Tensor got = argmax(logits.narrow(1, p.begin, p.size()), p, *groups.ranks[static_cast<std::size_t>(rank)]);
    EXPECT_TRUE(got.equal(at::argmax(logits, 1))) << got;
  });
}

TEST(TensorParallel, AFailedGroupIsThrownWithItsStatus) {
  ThreadGroups groups(2);
  Linear layer(4, 6, groups.ranks[0].get());
  at::Tensor x = at::ones({2, 4}).requires_grad_();
  at::Tensor y = layer.forward(x).sum();
  groups.ranks[0]->fail_with = peer_lost("worker 1 did not answer");
  try {
    y.backward();
    FAIL() << "backward went on without worker 1";
  } catch (const Error& e) {
    EXPECT_EQ(e.status().code(), Code::peer_lost);
    EXPECT_EQ(e.status().message(), "gradients of a split layer's input: worker 1 did not answer");
  }
}

TEST(SplitParameters, AreNamedAsTheModuleNamesThem) {
  struct Net : torch::nn::Module {
    Net(Factory& f) {
      register_module("0", f.linear(4, 8, LinearKind::hidden));
      register_module("2", f.linear(8, 5, LinearKind::classes));
    }
  };
  ThreadGroups groups(2);
  auto factory = tensor_parallel_layers(*groups.ranks[1]);
  auto split = split_parameters(*std::make_shared<Net>(*factory));
  ASSERT_EQ(split.size(), 2u);
  EXPECT_EQ(split[0].name, "2.weight");
  EXPECT_EQ(split[1].name, "2.bias");
  EXPECT_EQ(split[1].part, (Part{2, 5, 5}));
}

}  // namespace
}  // namespace cohaul::parallel
