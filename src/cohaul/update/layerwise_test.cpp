// LARS and LAMB, in owners: compared with the papers; and the same bits however parameters are shared out.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cohaul/update/owner.h"
#include "cohaul/update/testing.h"

namespace cohaul::update {
namespace {

using Kind = RuleSettings::Kind;

const RuleSettings kLars{
    .kind = Kind::lars, .lr = 0.5, .momentum = 0.9, .weight_decay = 0.01, .trust_coefficient = 0.02};
const RuleSettings kLamb{
    .kind = Kind::lamb, .lr = 0.02, .weight_decay = 0.01, .beta1 = 0.8, .beta2 = 0.99, .eps = 1e-6};

/// Two parameters by the rule, and one of a second group, without a trust ratio.
OptimizerSettings settings_of(const RuleSettings& rule) {
  OptimizerSettings s(rule);
  s.groups.push_back(rule);
  s.groups.back().trust_ratio = false, s.groups.back().weight_decay = 0, s.groups.back().lr = 0.01;
  return s;
}

/// Three parameters of so many elements; the first starts at 0 where `zero`.
constexpr std::int64_t kElements[] = {2500, 70, 1100};
template <class T>
constexpr DType dtype_of() {
  return sizeof(T) == 4 ? DType::float32 : DType::float64;
}
template <class T>
Layout layout_of() {
  std::vector<ParameterSpec> specs;
  for (int p = 0; p < 3; ++p) {
    ParameterSpec& s = specs.emplace_back();
    s.name = std::string(1, static_cast<char>('a' + p)), s.shape = {kElements[p]}, s.dtype = dtype_of<T>();
    s.group = p == 2 ? 1 : 0, s.whole = p != 2;
  }
  return std::move(Layout::of(std::move(specs))).value();
}

/// The papers, read line by line, for one parameter in double precision.
struct Paper {
  RuleSettings s;
  std::vector<double> w, m = std::vector<double>(w.size()), v = std::vector<double>(w.size());
  int t = 0;

  static double norm(const std::vector<double>& x) {
    double sum = 0;
    for (double e : x) sum += e * e;
    return std::sqrt(sum);
  }
  void step(const std::vector<double>& g, double lr) {
    ++t;
    if (s.kind == Kind::lars) lars(g, lr);
    else lamb(g, lr);
  }
  /// You, Gitman, Ginsburg, algorithm 1.
  void lars(const std::vector<double>& g, double lr) {
    const double of_w = norm(w), of_g = norm(g);
    const bool adapts = s.trust_ratio && of_w > 0 && of_g > 0;
    const double local = adapts ? s.trust_coefficient * of_w / (of_g + s.weight_decay * of_w) : 1;
    for (std::size_t i = 0; i < w.size(); ++i) {
      v[i] = s.momentum * v[i] + lr * local * (g[i] + s.weight_decay * w[i]);
      w[i] -= v[i];
    }
  }
  /// You et al., algorithm 2.
  void lamb(const std::vector<double>& g, double lr) {
    std::vector<double> d(w.size());
    for (std::size_t i = 0; i < w.size(); ++i) {
      m[i] = s.beta1 * m[i] + (1 - s.beta1) * g[i];
      v[i] = s.beta2 * v[i] + (1 - s.beta2) * g[i] * g[i];
      const double m_hat = m[i] / (1 - std::pow(s.beta1, t)), v_hat = v[i] / (1 - std::pow(s.beta2, t));
      d[i] = m_hat / (std::sqrt(v_hat) + s.eps) + s.weight_decay * w[i];
    }
    const double of_w = norm(w), of_d = norm(d);
    const double ratio = s.trust_ratio && of_w > 0 && of_d > 0 ? of_w / of_d : 1;
    for (std::size_t i = 0; i < w.size(); ++i) w[i] -= lr * ratio * d[i];
  }
};

/// The model's flat area after some steps. owners: among which partitions are shared out. parts: contributions to each step.
template <class T>
std::vector<T> trained(const RuleSettings& rule, int owners, std::int32_t parts, int steps, bool zero,
                       const StepPlan& plan = {}, double factor = 1) {
  const Layout l = layout_of<T>();
  const std::vector<std::int32_t> owner_of = assign_owners(l, owners);
  std::vector<T> flat = random_values<T>(l.bytes() / sizeof(T), 1);
  if (zero) std::fill_n(flat.begin(), kElements[0], T(0));
  for (int owner = 0; owner < owners; ++owner) {
    std::vector<PartitionId> mine;
    for (std::size_t p = 0; p < owner_of.size(); ++p)
      if (owner_of[p] == owner) mine.emplace_back(static_cast<std::int32_t>(p));
    Owner of_some(l, settings_of(rule), {}, mine);
    for (int t = 0; t < steps; ++t) {
      std::vector<std::vector<T>> gradients;
      for (std::int32_t k = 0; k < parts; ++k) {
        gradients.push_back(random_values<T>(flat.size(), 100 + static_cast<std::uint64_t>(t)));
        for (T& g : gradients.back()) g = static_cast<T>(g * factor / parts);  // all alike: their sum is the gradient
      }
      for (PartitionId id : mine) {
        const Partition& p = l.partitions()[id.value];
        std::vector<Contribution> contributions;
        for (std::int32_t k = 0; k < parts; ++k)
          contributions.push_back(
              {as_bytes(std::span<const T>(gradients[static_cast<std::size_t>(k)])).subspan(p.offset, p.bytes),
               {},
               {k, k + 1, parts},
               k});
        auto* place = reinterpret_cast<std::byte*>(flat.data()) + p.offset;
        of_some.apply(id, contributions, t, plan, place, place);
      }
    }
  }
  return flat;
}

template <class T>
class Layerwise : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(Layerwise, Types);

TYPED_TEST(Layerwise, FollowsThePapersFor50Steps) {
  const Layout l = layout_of<TypeParam>();
  for (const RuleSettings& rule : {kLars, kLamb, RuleSettings{.kind = Kind::lars, .lr = 0.5}}) {
    for (const bool zero : {false, true}) {
      const OptimizerSettings settings = settings_of(rule);
      const auto start = random_values<TypeParam>(l.bytes() / sizeof(TypeParam), 1);
      const std::vector<TypeParam> ours = trained<TypeParam>(rule, 1, 1, 50, zero);
      for (std::int32_t p = 0; p < 3; ++p) {
        const auto begin = static_cast<std::ptrdiff_t>(l.offset(p) / sizeof(TypeParam)), end = begin + kElements[p];
        Paper paper{.s = settings.groups[p == 2 ? 1 : 0], .w = {start.begin() + begin, start.begin() + end}};
        if (zero && p == 0) std::ranges::fill(paper.w, 0);
        for (int t = 0; t < 50; ++t) {
          const auto g = random_values<TypeParam>(start.size(), 100 + static_cast<std::uint64_t>(t));
          paper.step({g.begin() + begin, g.begin() + end}, paper.s.lr);
        }
        const double tolerance = sizeof(TypeParam) == 4 ? 5e-6 : 1e-13;
        for (std::ptrdiff_t i = 0; i < kElements[p]; ++i)
          ASSERT_NEAR(ours[static_cast<std::size_t>(begin + i)], paper.w[static_cast<std::size_t>(i)], tolerance)
              << name(rule.kind) << ", parameter " << p << ", element " << i;
      }
    }
  }
}

TYPED_TEST(Layerwise, HasEqualBitsForAnyOwnersPartsAndInstructionSets) {
  for (const RuleSettings& rule : {kLars, kLamb}) {
    const std::vector<TypeParam> one = trained<TypeParam>(rule, 1, 1, 5, false);
    StepPlan half;
    half.factor = 0.5;
    on_every_target([&](const char* target) {
      for (int owners : {1, 2, 3, 5})
        EXPECT_EQ(trained<TypeParam>(rule, owners, 1, 5, false), one) << name(rule.kind) << ", " << target;
      EXPECT_EQ(trained<TypeParam>(rule, 2, 4, 5, false), one) << "four equal parts of the gradient";
      EXPECT_EQ(trained<TypeParam>(rule, 2, 2, 5, false, half, 2), one) << "twice the gradient, halved by the plan";
    });
  }
}

TEST(LayerwiseRules, HaveARatioOf1WhereANormIs0) {
  const auto ratio = [](RuleSettings s, const Norms& norms) { return make_rule(s)->layerwise()->trust(norms); };
  EXPECT_EQ(ratio({.kind = Kind::lamb}, {6, 2}), 3);
  EXPECT_EQ(ratio({.kind = Kind::lars, .weight_decay = 0.5, .trust_coefficient = 10}, {4, 2}), 10);
  for (const Kind kind : {Kind::lars, Kind::lamb}) {
    EXPECT_EQ(ratio({.kind = kind}, {0, 2}), 1);
    EXPECT_EQ(ratio({.kind = kind}, {2, 0}), 1);
    EXPECT_EQ(ratio({.kind = kind, .trust_ratio = false}, {6, 2}), 1);
  }
  EXPECT_EQ(make_rule({.kind = Kind::adam})->layerwise(), nullptr);
}

TEST(LayerwiseRules, HaveNormsOfWhatIsNotFinite) {
  const Layout l = layout_of<float>();
  for (const RuleSettings& rule : {kLars, kLamb}) {
    Owner owner(l, settings_of(rule), {}, std::vector<PartitionId>{PartitionId(0)});
    const Partition& p = l.partitions()[0];
    ASSERT_EQ(l.segments()[p.segment_first].elements, 2500u);
    std::vector<float> w(p.bytes / 4, 1), g(p.bytes / 4, 1);
    g[1030] = NAN;
    const Contribution one{as_bytes(std::span<const float>(g)), {}, {0, 1, 1}, 0};
    auto* place = reinterpret_cast<std::byte*>(w.data());
    owner.apply(PartitionId(0), {&one, 1}, 0, {}, place, place);
    EXPECT_TRUE(std::isnan(w[0]) && std::isnan(w[2499])) << "as by a norm over all";
  }
}

TEST(LayerwiseRules, NeedWholeParameters) {
  Layout cut = std::move(Layout::of({{"w", {40'000}}})).value();
  EXPECT_EQ(check_fits(cut, kLamb).message(), "parameter w may be cut, and lamb needs all of it at one owner");
  EXPECT_TRUE(check_fits(cut, RuleSettings{.kind = Kind::lamb, .trust_ratio = false}).ok());
  EXPECT_TRUE(check_fits(cut, RuleSettings{.kind = Kind::adam}).ok());
  Layout grouped = layout_of<float>();
  EXPECT_NE(check_fits(grouped, kLamb).message().find("a group that the optimizer does not have"), std::string::npos);
  EXPECT_TRUE(check_fits(grouped, settings_of(kLamb)).ok());
}

}  // namespace
}  // namespace cohaul::update
