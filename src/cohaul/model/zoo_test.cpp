#include "cohaul/model/zoo.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "cohaul/collective/group.h"

namespace cohaul::model {
namespace {

Entry make_or_die(const ModelSettings& settings) {
  static auto factory = parallel::whole_layers();
  auto entry = make(settings, *factory);
  EXPECT_TRUE(entry.ok()) << entry.status().message();
  return std::move(*entry);
}

/// Returns small sizes for models that would take long otherwise.
std::map<std::string, std::int64_t> small_sizes(std::string_view name) {
  if (name == "resnet18") return {{"width", 8}};
  if (name == "deep") return {{"width", 32}, {"depth", 4}};
  return {};
}

std::int64_t count(const Entry& entry) {
  std::int64_t n = 0;
  for (const auto& [name, tensor] : entry.parameters) n += tensor.numel();
  return n;
}

void expect_parameters(const Entry& entry,
                       const std::vector<std::pair<std::string, std::vector<std::int64_t>>>& expected) {
  ASSERT_EQ(entry.parameters.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(entry.parameters[i].first, expected[i].first);
    EXPECT_EQ(entry.parameters[i].second.sizes(), expected[i].second);
    EXPECT_TRUE(entry.parameters[i].second.is_leaf() && entry.parameters[i].second.requires_grad());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(entry.parameters[i].second.data_ptr()) % 64, 0u);
  }
}

TEST(Zoo, ParametersAreNamedAsPyTorchs) {
  Entry softmax = make_or_die({.name = "softmax"}), mlp = make_or_die({.name = "mlp"}),
        cnn = make_or_die({.name = "cnn"});
  expect_parameters(softmax, {{"weight", {10, 784}}, {"bias", {10}}});
  expect_parameters(mlp, {{"0.weight", {1024, 784}},
                          {"0.bias", {1024}},
                          {"2.weight", {1024, 1024}},
                          {"2.bias", {1024}},
                          {"4.weight", {10, 1024}},
                          {"4.bias", {10}}});
  expect_parameters(cnn, {{"0.weight", {32, 1, 5, 5}},
                          {"0.bias", {32}},
                          {"3.weight", {64, 32, 5, 5}},
                          {"3.bias", {64}},
                          {"7.weight", {512, 3136}},
                          {"7.bias", {512}},
                          {"9.weight", {10, 512}},
                          {"9.bias", {10}}});
  EXPECT_EQ(count(softmax), 7850);
  EXPECT_EQ(count(mlp), 1'863'690);
  EXPECT_EQ(count(cnn), 1'663'370);
}

TEST(Zoo, LearnsWhatItIsShown) {
  at::manual_seed(99);  // not the models' seed: inputs drawn like the weights would resemble them
  data::Batch batch{at::rand({20, 1, 28, 28}), at::arange(20, at::kLong).remainder(10)};
  for (std::string_view name : names()) {
    Entry entry = make_or_die({.name = std::string(name), .sizes = small_sizes(name)});
    double before = entry.loss(batch).item<double>();
    EXPECT_NEAR(before, std::log(10), 0.3) << name;
    for (int step = 0; step < 8; ++step) {
      entry.loss(batch).backward();
      at::NoGradGuard no_grad;
      for (auto& [_, p] : entry.parameters) {
        ASSERT_TRUE(p.grad().defined()) << name;
        p.sub_(p.grad(), 0.02);
        p.mutable_grad().reset();
      }
    }
    EXPECT_LT(entry.loss(batch).item<double>(), before) << name;
    double correct = entry.metrics.at(0).second(batch);
    EXPECT_GE(correct, 2) << name;
    EXPECT_LE(correct, 20) << name;
  }
}

TEST(Zoo, SeedAndInitDecideTheStart) {
  Entry a = make_or_die({.name = "softmax", .seed = 1}), b = make_or_die({.name = "softmax", .seed = 1});
  Entry c = make_or_die({.name = "softmax", .seed = 2}), zero = make_or_die({.name = "softmax", .init = "zero"});
  EXPECT_TRUE(a.parameters[0].second.equal(b.parameters[0].second));
  EXPECT_FALSE(a.parameters[0].second.equal(c.parameters[0].second));
  EXPECT_EQ(zero.parameters[0].second.abs().sum().item<double>(), 0);
  EXPECT_NEAR(zero.loss({at::rand({4, 784}), at::zeros({4}, at::kLong)}).item<double>(), std::log(10), 1e-6);
}

TEST(Zoo, TakesSizes) {
  Entry entry = make_or_die({.name = "mlp", .sizes = {{"width", 8}, {"depth", 1}}});
  expect_parameters(entry, {{"0.weight", {8, 784}}, {"0.bias", {8}}, {"2.weight", {10, 8}}, {"2.bias", {10}}});
}

TEST(Zoo, RefusesByKey) {
  auto factory = parallel::whole_layers();
  auto refusal = [&](const ModelSettings& s) {
    Status status = make(s, *factory).status();
    EXPECT_EQ(status.code(), Code::invalid);
    return status.message();
  };
  EXPECT_EQ(refusal({.name = "sofmax"}),
            "model.name = \"sofmax\": no such model; the zoo has softmax, mlp, cnn, resnet18, deep");
  EXPECT_EQ(refusal({.name = "softmax", .sizes = {{"width", 3}}}),
            "model.width: no size of the model softmax; it has inputs, classes");
  EXPECT_EQ(refusal({.name = "mlp", .sizes = {{"width", 0}}}), "model.width = 0: must be 1 to 1048576");
  EXPECT_NE(refusal({.name = "mlp", .init = "ones"}).find("model.init = \"ones\""), std::string::npos);
}

/// The last of two ranks, without the other one: enough to see which layers are made.
class LastOfTwo : public collective::Group {
 public:
  int rank() const override { return 1; }
  int size() const override { return 2; }
  Status all_reduce(collective::Buffer) override { return unsupported("alone"); }
  Status reduce_scatter(collective::Buffer, collective::Buffer) override { return unsupported("alone"); }
  Status all_gather(collective::Buffer, collective::Buffer) override { return unsupported("alone"); }
  Status broadcast(collective::Buffer, int) override { return unsupported("alone"); }
  Status send(collective::Buffer, int) override { return unsupported("alone"); }
  Status receive(collective::Buffer, int) override { return unsupported("alone"); }
  Status barrier() override { return unsupported("alone"); }
};

TEST(Zoo, TensorSplitsTheLastLayerOnly) {
  LastOfTwo group;
  auto factory = parallel::tensor_parallel_layers(group);
  const std::vector<std::pair<std::string, std::string>> last{{"softmax", "weight"},
                                                              {"mlp", "4.weight"},
                                                              {"cnn", "9.weight"},
                                                              {"resnet18", "fc.weight"},
                                                              {"deep", "out.weight"}};
  for (const auto& [name, weight] : last) {
    const ModelSettings settings{.name = name, .seed = 4, .sizes = small_sizes(name)};
    auto entry = make(settings, *factory);
    ASSERT_TRUE(entry.ok());
    Entry whole = make_or_die(settings);
    ASSERT_EQ(entry->split.size(), 2u) << name;
    EXPECT_EQ(entry->split[0].name, weight);
    EXPECT_EQ(entry->split[0].part, (parallel::Part{5, 10, 10}));
    for (std::size_t i = 0; i < whole.parameters.size(); ++i) {
      const auto& [key, tensor] = whole.parameters[i];
      bool split = i + 2 >= whole.parameters.size();
      EXPECT_TRUE(entry->parameters[i].second.equal(split ? tensor.narrow(0, 5, 5) : tensor)) << name << " " << key;
    }
  }
}

}  // namespace
}  // namespace cohaul::model
