// Tests of the model deep, with and without residuals and norms.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "cohaul/model/zoo.h"

namespace cohaul::model {
namespace {

Entry deep(bool residual, bool norm) {
  static auto factory = parallel::whole_layers();
  const std::map<std::string, std::int64_t> sizes{
      {"width", 16}, {"depth", 3}, {"residual", residual ? 1 : 0}, {"norm", norm ? 1 : 0}};
  auto entry = make({.name = "deep", .seed = 5, .sizes = sizes}, *factory);
  EXPECT_TRUE(entry.ok()) << entry.status().message();
  return std::move(*entry);
}

class Forms : public testing::TestWithParam<std::tuple<bool, bool>> {};

/// Computes the formula with the entry's own parameters.
TEST_P(Forms, ComputeWhatTheFormulaSays) {
  const auto [residual, norm] = GetParam();
  const Entry entry = deep(residual, norm);
  std::map<std::string, at::Tensor> p(entry.parameters.begin(), entry.parameters.end());
  ASSERT_EQ(p.size(), norm ? 18U : 10U);
  EXPECT_EQ(p.contains("layers.2.norm.weight"), norm);
  const auto linear = [&](const std::string& name, const at::Tensor& x) {
    return at::matmul(x, p.at(name + ".weight").t()) + p.at(name + ".bias");
  };
  const auto activated = [&, norm = norm](const std::string& name, const at::Tensor& x) {
    if (!norm) return x.clamp_min(0);
    const at::Tensor centred = x - x.mean(1, true);
    const at::Tensor scaled = centred / (centred.square().mean(1, true) + 1e-5).sqrt();
    return (scaled * p.at(name + ".weight") + p.at(name + ".bias")).clamp_min(0);
  };
  const data::Batch batch{at::rand({6, 1, 28, 28}), at::arange(6, at::kLong)};
  at::Tensor x = linear("in", batch.input.flatten(1));
  for (const std::string name : {"layers.0", "layers.1", "layers.2"}) {
    const at::Tensor f = linear(name + ".linear", activated(name + ".norm", x));
    x = residual ? x + f : f;
  }
  const double expected = at::cross_entropy_loss(linear("out", activated("norm", x)), batch.target).item<double>();
  EXPECT_NEAR(entry.loss(batch).item<double>(), expected, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Deep, Forms, testing::Combine(testing::Bool(), testing::Bool()));

}  // namespace
}  // namespace cohaul::model
