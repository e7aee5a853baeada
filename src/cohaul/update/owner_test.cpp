#include "cohaul/update/owner.h"

#include <gtest/gtest.h>

#include <cstring>

#include "cohaul/base/testing/allocations.h"
#include "cohaul/update/local_exchange.h"
#include "cohaul/update/sum.h"
#include "cohaul/update/testing.h"

namespace cohaul::update {
namespace {

const RuleSettings kMomentum{.momentum = 0.9};
const RuleSettings kAdam{.kind = RuleSettings::Kind::adam};

Layout layout_of(std::vector<ParameterSpec> parameters) { return std::move(Layout::of(std::move(parameters))).value(); }

Layout one_float(std::int64_t n) { return layout_of({{"w", {n}}}); }

std::vector<PartitionId> all(const Layout& l) {
  std::vector<PartitionId> ids;
  for (std::size_t i = 0; i < l.partitions().size(); ++i) ids.emplace_back(static_cast<std::int32_t>(i));
  return ids;
}

ConstBytes piece(const std::vector<float>& v, const Partition& p) {
  return as_bytes(std::span(v)).subspan(p.offset, p.bytes);
}

TEST(Owner, SumsInTreeOrderAndAppliesTheRule) {
  const Layout l = one_float(5000);
  for (const RuleSettings& settings : {RuleSettings{}, kMomentum, kAdam}) {
    for (std::size_t count : {1, 2, 3, 4, 7}) {
      Owner owner(l, settings, all(l));
      auto rule = make_rule(settings);
      std::vector<float> ours = random_values<float>(5000, 1), expected = ours, sum(5000), state[2];
      for (auto& s : state) s.assign(5000, 0);
      float* arrays[] = {state[0].data(), state[1].data()};
      for (int t = 1; t <= 3; ++t) {
        std::vector<std::vector<float>> gradients;
        std::vector<const float*> terms;
        for (std::size_t k = 0; k < count; ++k) gradients.push_back(random_values<float>(5000, 10 * t + k));
        for (const auto& g : gradients) terms.push_back(g.data());
        tree_sum(terms, sum.data(), 5000);
        rule->apply(sum.data(), expected.data(), expected.data(), arrays, 5000, {.lr = 0.1}, t);
        for (PartitionId id : all(l)) {
          const Partition& p = l.partitions()[id.value];
          std::vector<Contribution> contributions;
          for (const auto& g : gradients) contributions.push_back({piece(g, p), {}});
          auto* place = reinterpret_cast<std::byte*>(ours.data()) + p.offset;
          owner.apply(id, contributions, {.lr = 0.1}, place, place);
        }
      }
      EXPECT_EQ(ours, expected) << count;
    }
  }
}

TEST(Owner, LeavesWhatIsAbsentEverywhereAndItsCount) {
  const Layout l = layout_of({{"a", {16}}, {"b", {16}}});  // 64 bytes each, one block each
  ASSERT_EQ(l.partitions().size(), 2u);
  Owner owner(l, kAdam, all(l));
  std::vector<float> in(32, 1), out(32, 0), zeros(32, 0), g(32, 0.5);
  const std::vector<std::int32_t> a{0}, both{0, 1};
  const auto step = [&](std::vector<std::pair<const std::vector<float>*, std::span<const std::int32_t>>> from) {
    for (PartitionId id : all(l)) {
      const Partition& p = l.partitions()[id.value];
      std::vector<Contribution> contributions;
      for (auto [gradient, absent] : from) contributions.push_back({piece(*gradient, p), absent});
      owner.apply(id, contributions, {.lr = 0.1}, reinterpret_cast<std::byte*>(in.data()) + p.offset,
                  reinterpret_cast<std::byte*>(out.data()) + p.offset);
    }
  };
  step({{&zeros, both}, {&g, a}});   // a is absent in both, b in one only
  EXPECT_EQ(out[0], 1);              // copied
  EXPECT_NEAR(out[16], 0.9f, 1e-6);  // Adam's first step is lr
  step({{&g, {}}});
  EXPECT_NEAR(out[0], 0.9f, 1e-6);  // still a's first
}

TEST(Owner, HoldsStateOfItsOwnPartitionsOnly) {
  const Layout l = one_float(16 * 1024);
  const std::vector<PartitionId> some{PartitionId(3), PartitionId(4)};
  Owner owner(l, kAdam, some);
  EXPECT_EQ(owner.state_bytes(), 2u * 2 * 4096);
  EXPECT_TRUE(owner.owns(PartitionId(3)));
  EXPECT_FALSE(owner.owns(PartitionId(5)));
  EXPECT_FALSE(owner.owns(PartitionId(16)));
  EXPECT_FALSE(owner.owns(PartitionId(-1)));
  EXPECT_EQ(Owner(l, {}, all(l)).state_bytes(), 0u);
}

TEST(Owner, DoesNotAllocate) {
  const Layout l = one_float(100'000);
  Owner owner(l, kAdam, all(l));
  std::vector<float> parameters(100'000), g = random_values<float>(100'000, 1);
  std::vector<Contribution> contributions(5);
  const long before = testing_tools::allocations();
  for (int step = 0; step < 3; ++step) {
    for (std::size_t i = 0; i < l.partitions().size(); ++i) {
      const Partition& p = l.partitions()[i];
      for (Contribution& c : contributions) c.gradient = piece(g, p);
      auto* place = reinterpret_cast<std::byte*>(parameters.data()) + p.offset;
      owner.apply(PartitionId(static_cast<std::int32_t>(i)), contributions, {.lr = 0.1}, place, place);
    }
  }
  EXPECT_EQ(testing_tools::allocations(), before);
}

TEST(LocalExchange, EqualsTheRuleOnTheWhole) {
  const Layout l =
      layout_of({{"w", {50'000}}, {"b", {10}}, {"frozen", {3}, DType::float32, false}, {"d", {5}, DType::float64}});
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::vector<Line> area(l.bytes() / 64);
  const Bytes flat(reinterpret_cast<std::byte*>(area.data()), l.bytes());
  const auto w = random_values<float>(50'000, 1);
  const auto d = random_values<double>(5, 2);
  std::memcpy(flat.data(), w.data(), 200'000);
  std::memcpy(flat.data() + l.offset(3), d.data(), 40);

  auto exchange = make_local_exchange(l, kMomentum, flat);
  ASSERT_TRUE(exchange->start(kForever).ok());
  auto rule = make_rule(kMomentum);
  std::vector<float> expected_w = w, state_w(50'000);
  std::vector<double> expected_d = d, state_d(5);
  float* array_w[] = {state_w.data()};
  double* array_d[] = {state_d.data()};
  for (int t = 1; t <= 3; ++t) {
    const auto gw = random_values<float>(50'000, 10 + t);
    const auto gb = random_values<float>(10, 30 + t);
    const auto gd = random_values<double>(5, 20 + t);
    ASSERT_TRUE(exchange->begin({Step(t - 1), {}}, {.lr = 0.1}).ok());
    ASSERT_TRUE(exchange->push(2, as_bytes(std::span(gd)), {}).ok());
    ASSERT_TRUE(exchange->push(0, as_bytes(std::span(gw)), {}).ok());
    ASSERT_TRUE(exchange->push(1, as_bytes(std::span(gb)), {}).ok());
    auto outcome = exchange->finish(0.25);
    ASSERT_TRUE(outcome.ok());
    EXPECT_EQ(outcome->loss, 0.25);
    rule->apply(gw.data(), expected_w.data(), expected_w.data(), array_w, 50'000, {.lr = 0.1}, t);
    rule->apply(gd.data(), expected_d.data(), expected_d.data(), array_d, 5, {.lr = 0.1}, t);
  }
  EXPECT_EQ(std::memcmp(flat.data(), expected_w.data(), 200'000), 0);
  EXPECT_EQ(std::memcmp(flat.data() + l.offset(3), expected_d.data(), 40), 0);
  EXPECT_GE(exchange->memory_bytes(), 200'000u + 40 + 40);
}

}  // namespace
}  // namespace cohaul::update
