// Compares resnet18 with the same net written with torch::nn alone.

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include "cohaul/model/zoo.h"

namespace cohaul::model {
namespace {

namespace nn = torch::nn;

Entry resnet(std::int64_t width, std::uint64_t seed = 0) {
  static auto factory = parallel::whole_layers();
  auto entry = make({.name = "resnet18", .seed = seed, .sizes = {{"width", width}}}, *factory);
  EXPECT_TRUE(entry.ok()) << entry.status().message();
  return std::move(*entry);
}

nn::Conv2d conv(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride) {
  return nn::Conv2d(nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(false));
}

struct PlainBlock : nn::Module {
  PlainBlock(std::int64_t in, std::int64_t out, std::int64_t stride)
      : conv1(conv(in, out, 3, stride)), conv2(conv(out, out, 3, 1)), bn1(out), bn2(out) {
    register_module("conv1", conv1), register_module("bn1", bn1);
    register_module("conv2", conv2), register_module("bn2", bn2);
    if (stride == 2)
      downsample = register_module("downsample", nn::Sequential(conv(in, out, 1, 2), nn::BatchNorm2d(out)));
  }
  at::Tensor forward(at::Tensor x) {
    at::Tensor y = bn2(conv2(at::relu(bn1(conv1(x)))));
    return at::relu(y + (downsample.is_empty() ? x : downsample->forward(x)));
  }
  nn::Conv2d conv1, conv2;
  nn::BatchNorm2d bn1, bn2;
  nn::Sequential downsample{nullptr};
};

/// The net with each block written out, and the mean over pixels computed by hand.
struct PlainNet : nn::Module {
  explicit PlainNet(std::int64_t w) : conv1(conv(1, w, 3, 1)), bn1(w), fc(8 * w, 10) {
    register_module("conv1", conv1), register_module("bn1", bn1);
    std::int64_t in = w;
    for (int stage = 1; stage <= 4; ++stage) {
      const std::int64_t out = w << (stage - 1);
      nn::Sequential two(std::make_shared<PlainBlock>(in, out, stage == 1 ? 1 : 2),
                         std::make_shared<PlainBlock>(out, out, 1));
      stages.push_back(register_module("layer" + std::to_string(stage), two));
      in = out;
    }
    register_module("fc", fc);
  }
  at::Tensor forward(at::Tensor x) {
    x = at::relu(bn1(conv1(x)));
    for (auto& s : stages) x = s->forward(x);
    return fc(x.mean({2, 3}));
  }
  nn::Conv2d conv1;
  nn::BatchNorm2d bn1;
  std::vector<nn::Sequential> stages;
  nn::Linear fc;
};

template <class Named>
void copy(const NamedTensors& from, const Named& to) {
  at::NoGradGuard no_grad;
  ASSERT_EQ(from.size(), to.size());
  for (const auto& [name, t] : from) {
    const at::Tensor* other = to.find(name);
    ASSERT_NE(other, nullptr) << name;
    ASSERT_EQ(other->sizes(), t.sizes()) << name;
    other->detach().copy_(t);
  }
}

TEST(ResNet18, HasTheParametersOfTorchvisions) {
  const Entry entry = resnet(64);
  std::int64_t count = 0;
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const auto& [name, t] : entry.parameters) count += t.numel(), shapes[name] = t.sizes().vec();
  // The net for three channels has 11,173,962 parameters; the stem has 2 · 9 · 64 fewer here.
  EXPECT_EQ(count, 11'172'810);
  EXPECT_EQ(entry.parameters.size(), 62u);
  using Shape = std::vector<std::int64_t>;
  EXPECT_EQ(shapes["conv1.weight"], (Shape{64, 1, 3, 3}));
  EXPECT_EQ(shapes["bn1.bias"], (Shape{64}));
  EXPECT_EQ(shapes["layer1.0.conv2.weight"], (Shape{64, 64, 3, 3}));
  EXPECT_EQ(shapes["layer2.0.conv1.weight"], (Shape{128, 64, 3, 3}));
  EXPECT_EQ(shapes["layer2.0.downsample.0.weight"], (Shape{128, 64, 1, 1}));
  EXPECT_EQ(shapes["layer3.0.downsample.1.weight"], (Shape{256}));
  EXPECT_EQ(shapes["layer4.1.bn2.weight"], (Shape{512}));
  EXPECT_EQ(shapes["fc.weight"], (Shape{10, 512}));
  EXPECT_EQ(entry.buffers.size(), 60u);
  EXPECT_EQ(entry.buffers[0].first, "bn1.running_mean");
  EXPECT_EQ(entry.buffers[2].first, "bn1.num_batches_tracked");
}

TEST(ResNet18, ComputesWhatAPlainNetDoes) {
  Entry entry = resnet(4, 7);
  PlainNet plain(4);
  copy(entry.parameters, plain.named_parameters());
  copy(entry.buffers, plain.named_buffers());
  for (const std::int64_t size : {28, 32}) {
    const data::Batch batch{at::rand({6, 1, size, size}), at::arange(6, at::kLong)};
    const at::Tensor mine = entry.loss(batch),
                     theirs = at::cross_entropy_loss(plain.forward(batch.input), batch.target);
    EXPECT_NEAR(mine.item<double>(), theirs.item<double>(), 1e-5);
    mine.backward(), theirs.backward();
    const auto named = plain.named_parameters();
    for (auto& [name, p] : entry.parameters) {
      EXPECT_TRUE(at::allclose(p.grad(), named[name].grad(), 1e-3, 1e-5)) << name;
      p.mutable_grad().reset(), named[name].mutable_grad().reset();
    }
    for (const auto& [name, b] : entry.buffers) EXPECT_TRUE(at::allclose(b, plain.named_buffers()[name])) << name;
  }
}

TEST(ResNet18, InEvaluationASampleDoesNotDependOnTheOthers) {
  Entry entry = resnet(4);
  const at::Tensor images = at::rand({8, 1, 28, 28}), targets = at::arange(8, at::kLong);
  const auto mean_of_halves = [&] {
    at::NoGradGuard no_grad;
    const double first = entry.loss({images.narrow(0, 0, 4), targets.narrow(0, 0, 4)}).item<double>();
    return (first + entry.loss({images.narrow(0, 4, 4), targets.narrow(0, 4, 4)}).item<double>()) / 2;
  };
  EXPECT_GT(std::abs(mean_of_halves() - entry.loss({images, targets}).item<double>()), 1e-4);
  entry.train(false);
  const at::Tensor mean = entry.buffers[0].second.clone();
  EXPECT_NEAR(mean_of_halves(), entry.loss({images, targets}).item<double>(), 1e-5);
  EXPECT_TRUE(mean.equal(entry.buffers[0].second)) << "running means are of training alone";
}

}  // namespace
}  // namespace cohaul::model
