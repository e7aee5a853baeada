#include "cohaul/update/owner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cohaul/base/testing/allocations.h"
#include "cohaul/update/local_exchange.h"
#include "cohaul/update/sum.h"
#include "cohaul/update/testing.h"

namespace cohaul::update {
namespace {

const RuleSettings kMomentum{.lr = 0.1, .momentum = 0.9};
const RuleSettings kAdam{.kind = RuleSettings::Kind::adam, .lr = 0.1};

Layout layout_of(std::vector<ParameterSpec> parameters) { return std::move(Layout::of(std::move(parameters))).value(); }

constexpr StepPlan kApply{};

/// Contribution k of `count`, one slice each.
Contribution one_of(ConstBytes gradient, AbsentMask absent, std::size_t k, std::size_t count) {
  const auto slice = static_cast<std::int32_t>(k);
  return {gradient, absent, {slice, slice + 1, static_cast<std::int32_t>(count)}, slice};
}

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
  for (const RuleSettings& settings : {RuleSettings{.lr = 0.1}, kMomentum, kAdam}) {
    for (std::size_t count : {1, 2, 3, 4, 7}) {
      Owner owner(l, settings, {}, all(l));
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
        rule->apply(sum.data(), expected.data(), expected.data(), arrays, 5000, 0.1, t);
        for (PartitionId id : all(l)) {
          const Partition& p = l.partitions()[id.value];
          std::vector<Contribution> contributions;
          for (const auto& g : gradients) contributions.push_back(one_of(piece(g, p), {}, contributions.size(), count));
          auto* place = reinterpret_cast<std::byte*>(ours.data()) + p.offset;
          owner.apply(id, contributions, 0, kApply, place, place);
        }
      }
      EXPECT_EQ(ours, expected) << count;
    }
  }
}

TEST(Owner, LeavesWhatIsAbsentEverywhereAndItsCount) {
  const Layout l = layout_of({{"a", {16}}, {"b", {16}}});  // 64 bytes each, one block each
  ASSERT_EQ(l.partitions().size(), 2u);
  Owner owner(l, kAdam, {}, all(l));
  std::vector<float> in(32, 1), out(32, 0), noise(32, 7), g(32, 0.5);
  const std::vector<std::byte> a{std::byte{1}}, both{std::byte{3}};
  const auto step = [&](std::vector<std::pair<const std::vector<float>*, AbsentMask>> from) {
    for (PartitionId id : all(l)) {
      const Partition& p = l.partitions()[id.value];
      std::vector<Contribution> contributions;
      for (auto [gradient, absent] : from)
        contributions.push_back(one_of(piece(*gradient, p), absent, contributions.size(), from.size()));
      owner.apply(id, contributions, 0, kApply, reinterpret_cast<std::byte*>(in.data()) + p.offset,
                  reinterpret_cast<std::byte*>(out.data()) + p.offset);
    }
  };
  step({{&noise, both}, {&g, a}});   // a is absent in both, b in one only
  EXPECT_EQ(out[0], 1);              // copied
  EXPECT_NEAR(out[16], 0.9f, 1e-6);  // Adam's first step is lr
  step({{&g, {}}});
  EXPECT_NEAR(out[0], 0.9f, 1e-6);  // still a's first
}

TEST(Owner, TrainsEachGroupByItsRuleAndRate) {
  const Layout l = layout_of({{"a", {40}, DType::float32, true, 1}, {"b", {40}}, {"c", {40}, DType::float32, true, 1}});
  ASSERT_EQ(l.groups(), 2);
  ASSERT_EQ(l.buckets().size(), 1u) << "neighbours of different groups travel together";
  OptimizerSettings settings(RuleSettings{.lr = 0.5});
  settings.groups.push_back({.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01});
  settings.schedule = {.kind = Schedule::Kind::exponential, .gamma = 0.5};
  Owner owner(l, settings, {}, all(l));
  std::vector<float> ours = random_values<float>(l.bytes() / 4, 1), expected = ours, state(ours.size());
  for (int t = 0; t < 4; ++t) {
    const double by_hand = t < 2 ? 0.5 : 2;  // the first group's rate
    if (t == 2) owner.set_rates(std::vector<double>{2, 0.1});
    const auto g = random_values<float>(ours.size(), 10 + t);
    for (PartitionId id : all(l)) {
      const Partition& p = l.partitions()[id.value];
      const Contribution one = one_of(piece(g, p), {}, 0, 1);
      auto* place = reinterpret_cast<std::byte*>(ours.data()) + p.offset;
      owner.apply(id, {&one, 1}, t, kApply, place, place);
    }
    for (std::int32_t p = 0; p < 3; ++p) {
      const std::size_t begin = l.offset(p) / 4, group = p == 1 ? 0 : 1;
      float* array[] = {state.data() + begin};
      make_rule(settings.groups[group])
          ->apply(g.data() + begin, expected.data() + begin, expected.data() + begin, array, 40,
                  (group == 0 ? by_hand : 0.1) * std::pow(0.5, t), t + 1);
    }
  }
  EXPECT_EQ(ours, expected);
}

TEST(Owner, HoldsStateOfItsOwnPartitionsOnly) {
  const Layout l = one_float(16 * 1024);
  const std::vector<PartitionId> some{PartitionId(3), PartitionId(4)};
  Owner owner(l, kAdam, {}, some);
  EXPECT_EQ(owner.state_bytes(), 2u * 2 * 4096);
  EXPECT_TRUE(owner.owns(PartitionId(3)));
  EXPECT_FALSE(owner.owns(PartitionId(5)));
  EXPECT_FALSE(owner.owns(PartitionId(16)));
  EXPECT_FALSE(owner.owns(PartitionId(-1)));
  EXPECT_EQ(Owner(l, {}, {}, all(l)).state_bytes(), 0u);
}

TEST(Owner, DoesNotAllocate) {
  const Layout l = one_float(100'000);
  Owner owner(l, kAdam, {.clip_norm = 1}, all(l));
  std::vector<float> parameters(100'000), g = random_values<float>(100'000, 1);
  std::vector<Contribution> contributions(5);
  const long before = testing_tools::allocations();
  for (int step = 0; step < 3; ++step) {
    for (std::size_t i = 0; i < l.partitions().size(); ++i) {
      const Partition& p = l.partitions()[i];
      for (std::size_t k = 0; k < contributions.size(); ++k) contributions[k] = one_of(piece(g, p), {}, k, 5);
      auto* place = reinterpret_cast<std::byte*>(parameters.data()) + p.offset;
      GradientFacts facts;
      owner.measure(PartitionId(static_cast<std::int32_t>(i)), contributions, facts);
      owner.apply(PartitionId(static_cast<std::int32_t>(i)), contributions, 0, decide({.clip_norm = 1}, facts), place,
                  place);
    }
  }
  EXPECT_EQ(testing_tools::allocations(), before);
}

TEST(Owner, SumsPartsOfAnySizeToTheBitsOfOneSliceEach) {
  const Layout l = one_float(3000);
  for (std::int32_t slices : {1, 2, 3, 5, 7, 11, 16}) {
    std::vector<std::vector<float>> gradients;
    for (std::int32_t v = 0; v < slices; ++v) gradients.push_back(random_values<float>(3000, 100 + v));
    const auto sum_of = [&](const SliceRange& range) {
      std::vector<const float*> terms;
      for (std::int32_t v = range.first; v < range.last; ++v) terms.push_back(gradients[v].data());
      std::vector<float> out(3000);
      tree_sum(terms, out.data(), out.size());
      return out;
    };
    std::vector<float> expected;
    for (std::int32_t workers = 1; workers <= slices; ++workers) {
      std::vector<std::vector<float>> sums;
      std::vector<SliceRange> parts;
      for (std::int32_t r = 0; r < workers; ++r)
        for (const SliceRange& part : subtrees_of(slices_of(slices, r, workers)))
          parts.push_back(part), sums.push_back(sum_of(part));
      Owner owner(l, RuleSettings{.lr = 0.1}, {}, all(l));
      std::vector<float> parameters(3000, 1);
      for (PartitionId id : all(l)) {
        const Partition& p = l.partitions()[id.value];
        std::vector<Contribution> contributions;
        for (std::size_t k = 0; k < parts.size(); ++k) contributions.push_back({piece(sums[k], p), {}, parts[k], 0});
        auto* place = reinterpret_cast<std::byte*>(parameters.data()) + p.offset;
        EXPECT_TRUE(owner.apply(id, contributions, 0, kApply, place, place));
      }
      if (workers == 1) expected = parameters;
      EXPECT_EQ(parameters, expected) << slices << " slices, " << workers << " workers";
    }
  }
}

TEST(Owner, MeasuresTheSumAndNamesWhatIsNotFinite) {
  const Layout l = layout_of({{"a", {1500}}, {"b", {40}}});
  std::vector<float> first = random_values<float>(l.bytes() / 4, 1), second = random_values<float>(l.bytes() / 4, 2);
  const auto facts_of = [&](std::vector<PartitionId> ids) {
    GradientFacts facts;
    for (PartitionId id : ids) {
      const Partition& p = l.partitions()[id.value];
      const std::vector<Contribution> two{one_of(piece(first, p), {}, 0, 2), one_of(piece(second, p), {}, 1, 2)};
      measure(l, id, two, facts);
    }
    return facts;
  };
  double expected = 0;
  const auto add = [&](std::size_t i) { expected += std::pow(static_cast<double>(first[i] + second[i]), 2); };
  for (std::size_t i = 0; i < 1500; ++i) add(i);
  for (std::size_t i = 0; i < 40; ++i) add(l.offset(1) / 4 + i);
  EXPECT_NEAR(facts_of(all(l)).squares.value(), expected, 1e-9 * expected);
  std::vector<PartitionId> backwards = all(l);
  std::reverse(backwards.begin(), backwards.end());
  EXPECT_TRUE(facts_of(backwards).squares == facts_of(all(l)).squares);

  second[l.offset(1) / 4 + 3] = std::nanf("");
  second[1030] = INFINITY;
  GradientFacts bad = facts_of(all(l));
  EXPECT_EQ(bad.non_finite, 2);
  EXPECT_EQ(bad.parameter, 0);
  EXPECT_EQ(bad.worker, 1);
  EXPECT_NE(non_finite_error(bad, l, 11).message().find("step 12: the gradient of a is not finite at worker 1"),
            std::string::npos);
  second[1030] = 0, second[l.offset(1) / 4 + 3] = 0;
  first[5] = second[5] = 3e38f;
  bad = facts_of(all(l));
  EXPECT_EQ(bad.non_finite, 1);
  EXPECT_EQ(bad.worker, -1) << "only the sum is not finite";
}

TEST(Owner, UpdatesFromTheMeasuredSumAsFromTheContributions) {
  const Layout l = layout_of({{"a", {1500}}, {"b", {40}}, {"c", {7}}});
  const GradientPolicy policy{.clip_norm = 1};
  std::vector<std::vector<float>> gradients;
  for (int k = 0; k < 3; ++k) gradients.push_back(random_values<float>(l.bytes() / 4, 40 + k));
  const auto trained = [&](bool keep) {
    Owner owner(l, kAdam, policy, all(l));
    std::vector<float> parameters(l.bytes() / 4, 1);
    for (int step = 0; step < 4; ++step) {
      GradientFacts facts;
      for (const bool measuring : {true, false}) {
        for (PartitionId id : all(l)) {
          const Partition& p = l.partitions()[id.value];
          const update::Bucket& bucket = l.buckets()[p.bucket];
          // In step 1 a has a gradient in one slice only, in step 2 b has none; step 3 has one contribution.
          std::vector<std::vector<std::byte>> masks(3);
          std::vector<Contribution> contributions;
          for (int k = 0; k < (step == 3 ? 1 : 3); ++k) {
            masks[k].clear();
            for (std::int32_t at = bucket.parameter_first; at < bucket.parameter_last; ++at)
              if ((step == 1 && at == 0 && k != 1) || (step == 2 && at == 1))
                set_absent(masks[k], static_cast<std::size_t>(at - bucket.parameter_first),
                           static_cast<std::size_t>(bucket.parameter_last - bucket.parameter_first));
            contributions.push_back(
                one_of(piece(gradients[k], p), masks[k], static_cast<std::size_t>(k), step == 3 ? 1 : 3));
          }
          auto* place = reinterpret_cast<std::byte*>(parameters.data()) + p.offset;
          if (!measuring) owner.apply(id, contributions, 0, decide(policy, facts), place, place);
          else if (keep) owner.measure(id, contributions, facts);
          else measure(l, id, contributions, facts);
        }
      }
    }
    return parameters;
  };
  EXPECT_EQ(trained(true), trained(false));
}

TEST(Owner, ScalesClipsAndSkipsAsThePlanSays) {
  const Layout l = one_float(2500);
  const std::vector<float> g = random_values<float>(2500, 3);
  const auto updated = [&](const GradientPolicy& policy, const StepPlan& plan) {
    Owner owner(l, RuleSettings{.lr = 1}, policy, all(l));
    std::vector<float> parameters(2500, 0);
    for (PartitionId id : all(l)) {
      const Partition& p = l.partitions()[id.value];
      const Contribution one = one_of(piece(g, p), {}, 0, 1);
      auto* place = reinterpret_cast<std::byte*>(parameters.data()) + p.offset;
      EXPECT_EQ(owner.apply(id, {&one, 1}, 0, plan, place, place), plan.action == StepPlan::Action::apply);
    }
    return parameters;
  };
  const auto factor = [](double f) {
    StepPlan plan;
    plan.factor = f;
    return plan;
  };
  StepPlan skip;
  skip.action = StepPlan::Action::skip;
  const std::vector<float> halved = updated({}, factor(0.5)), clipped = updated({.clip_value = 0.25}, {});
  for (std::size_t i = 0; i < g.size(); ++i) {
    EXPECT_EQ(halved[i], -g[i] / 2);
    EXPECT_EQ(clipped[i], -std::clamp(g[i], -0.25f, 0.25f));
  }
  EXPECT_EQ(updated({}, skip), std::vector<float>(2500, 0));
}

TEST(Owner, MovesAveragesAfterEachUpdateAndSwapsThem) {
  const Layout l = layout_of({{"a", {1500}}, {"b", {40}}, {"c", {7}}});
  OptimizerSettings settings(kAdam);
  settings.ema = 0.9;
  const auto trained = [&](std::vector<float>& averages) {
    Owner owner(l, settings, {}, all(l));
    EXPECT_TRUE(owner.keeps_averages());
    std::vector<float> ours = random_values<float>(l.bytes() / 4, 1);
    std::vector<double> expected(ours.begin(), ours.end());
    const auto swap = [&] {
      for (PartitionId id : all(l)) {
        auto* place = reinterpret_cast<std::byte*>(ours.data()) + l.partitions()[id.value].offset;
        owner.swap_averages(id, place, place);
      }
    };
    const std::vector<float> start = ours;
    swap();
    EXPECT_EQ(ours, start) << "before the first update they are the parameters";
    swap();
    for (int t = 0; t < 5; ++t) {
      const auto g = random_values<float>(ours.size(), 10 + t);
      StepPlan plan;
      if (t == 3) plan.action = StepPlan::Action::skip;
      for (PartitionId id : all(l)) {
        const Partition& p = l.partitions()[id.value];
        std::vector<std::byte> absent;
        if (t == 2)  // all of them
          for (std::size_t k = 0; k < 3; ++k) set_absent(absent, k, 3);
        const Contribution one = one_of(t == 2 ? ConstBytes() : piece(g, p), absent, 0, 1);
        auto* place = reinterpret_cast<std::byte*>(ours.data()) + p.offset;
        owner.apply(id, {&one, 1}, t, plan, place, place);
      }
      if (t == 3) continue;
      for (std::size_t i = 0; i < ours.size(); ++i)
        expected[i] = 0.9 * expected[i] + 0.1 * static_cast<double>(ours[i]);
    }
    const std::vector<float> parameters = ours;
    swap();
    averages = ours;
    for (const std::int32_t p : {0, 1, 2})
      for (std::uint64_t i = l.offset(p) / 4; i < l.offset(p) / 4 + l.elements(p); ++i)
        EXPECT_NEAR(averages[i], expected[i], 1e-6);
    EXPECT_NE(averages, parameters);
    swap();
    EXPECT_EQ(ours, parameters);
    for (const StatePiece& kept : owner.pieces(Bytes(reinterpret_cast<std::byte*>(ours.data()), l.bytes()))) {
      EXPECT_TRUE(*kept.has_average);
      EXPECT_EQ(kept.average.size(), kept.values.size());
    }
  };
  std::vector<float> first, other;
  trained(first);
  on_every_target([&](const char* target) {
    trained(other);
    EXPECT_EQ(first, other) << target;
  });
  EXPECT_FALSE(Owner(l, kAdam, {}, all(l)).keeps_averages());
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

  auto exchange = make_local_exchange(l, kMomentum, {}, flat);
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
    ASSERT_TRUE(exchange->begin({Step(t - 1), {}}, {}).ok());
    ASSERT_TRUE(exchange->push({0, 2, as_bytes(std::span(gd))}).ok());
    ASSERT_TRUE(exchange->push({0, 0, as_bytes(std::span(gw))}).ok());
    ASSERT_TRUE(exchange->push({0, 1, as_bytes(std::span(gb))}).ok());
    EXPECT_EQ(std::memcmp(flat.data(), expected_w.data(), 200'000), 0) << "no parameter changes before the step ends";
    const PartEnd end{0.25, 0};
    auto outcome = exchange->finish({&end, 1});
    ASSERT_TRUE(outcome.ok());
    EXPECT_EQ(outcome->loss, 0.25);
    rule->apply(gw.data(), expected_w.data(), expected_w.data(), array_w, 50'000, 0.1, t);
    rule->apply(gd.data(), expected_d.data(), expected_d.data(), array_d, 5, 0.1, t);
  }
  EXPECT_EQ(std::memcmp(flat.data(), expected_w.data(), 200'000), 0);
  EXPECT_EQ(std::memcmp(flat.data() + l.offset(3), expected_d.data(), 40), 0);
  EXPECT_GE(exchange->memory_bytes(), 200'000u + 40 + 40);
}

}  // namespace
}  // namespace cohaul::update
