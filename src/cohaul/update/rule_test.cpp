#include "cohaul/update/rule.h"
#include "cohaul/update/optimizer_settings.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>

#include "cohaul/update/testing.h"

namespace cohaul::update {
namespace {

using Kind = RuleSettings::Kind;

std::vector<RuleSettings> all_rules() {
  return {
      {.kind = Kind::sgd},
      {.kind = Kind::sgd, .weight_decay = 0.1},
      {.kind = Kind::sgd, .momentum = 0.9},
      {.kind = Kind::sgd, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.01},
      {.kind = Kind::sgd, .momentum = 0.8, .weight_decay = 0.01, .nesterov = true},
      {.kind = Kind::adam},
      {.kind = Kind::adam, .weight_decay = 0.1, .beta1 = 0.8, .beta2 = 0.99, .eps = 1e-6},
      {.kind = Kind::adamw, .weight_decay = 0.01},
      {.kind = Kind::adamw, .beta1 = 0.8},
      {.kind = Kind::adam, .amsgrad = true},
      {.kind = Kind::adamw, .weight_decay = 0.01, .amsgrad = true},
      {.kind = Kind::adagrad, .eps = 1e-10},
      {.kind = Kind::adagrad, .weight_decay = 0.05, .eps = 1e-10, .lr_decay = 0.1, .initial_accumulator = 0.3},
      {.kind = Kind::rmsprop},
      {.kind = Kind::rmsprop, .weight_decay = 0.05, .alpha = 0.8, .centered = true},
      {.kind = Kind::rmsprop, .momentum = 0.9},
      {.kind = Kind::rmsprop, .momentum = 0.5, .eps = 1e-6, .alpha = 0.9, .centered = true},
      {.kind = Kind::lion, .beta2 = 0.99},
      {.kind = Kind::lion, .weight_decay = 0.1, .beta1 = 0.7, .beta2 = 0.9},
  };
}

/// And those that layerwise_test.cpp compares.
std::vector<RuleSettings> layerwise_too() {
  std::vector<RuleSettings> all = all_rules();
  all.push_back({.kind = Kind::lars, .momentum = 0.9, .weight_decay = 0.01, .trust_coefficient = 0.02});
  all.push_back({.kind = Kind::lars, .trust_ratio = false});
  all.push_back({.kind = Kind::lamb, .weight_decay = 0.01, .beta1 = 0.8, .eps = 1e-6});
  return all;
}

/// The documentation of torch.optim, read line by line, for one element in double precision.
struct Reference {
  RuleSettings s;
  double p, b = 0, m = 0, v = 0, largest = 0;
  int t = 0;
  void step(double g, double lr) {
    ++t;
    if (s.kind == Kind::sgd) {
      g += s.weight_decay * p;
      if (s.momentum != 0) {
        b = t > 1 ? s.momentum * b + (1 - s.dampening) * g : g;
        g = s.nesterov ? g + s.momentum * b : b;
      }
      p -= lr * g;
      return;
    }
    if (s.kind == Kind::adagrad) {
      g += s.weight_decay * p;
      v = (t == 1 ? s.initial_accumulator : v) + g * g;
      p -= lr / (1 + (t - 1) * s.lr_decay) * g / (std::sqrt(v) + s.eps);
      return;
    }
    if (s.kind == Kind::rmsprop) {
      g += s.weight_decay * p;
      v = s.alpha * v + (1 - s.alpha) * g * g;
      if (s.centered) m = s.alpha * m + (1 - s.alpha) * g;
      double d = g / (std::sqrt(v - m * m) + s.eps);
      if (s.momentum != 0) d = b = s.momentum * b + d;
      p -= lr * d;
      return;
    }
    if (s.kind == Kind::lion) {
      const double d = s.beta1 * m + (1 - s.beta1) * g;
      p -= lr * s.weight_decay * p;
      p -= lr * ((d > 0) - (d < 0));
      m = s.beta2 * m + (1 - s.beta2) * g;
      return;
    }
    if (s.kind == Kind::adamw) p -= lr * s.weight_decay * p;
    else g += s.weight_decay * p;
    m = s.beta1 * m + (1 - s.beta1) * g;
    v = s.beta2 * v + (1 - s.beta2) * g * g;
    largest = std::max(largest, v);
    const double m_hat = m / (1 - std::pow(s.beta1, t)), v_hat = (s.amsgrad ? largest : v) / (1 - std::pow(s.beta2, t));
    p -= lr * m_hat / (std::sqrt(v_hat) + s.eps);
  }
};

/// Parameters and state of n elements under one rule.
template <class T>
struct Trained {
  std::unique_ptr<const Rule> rule;
  std::vector<T> p;
  std::vector<std::vector<T>> state;
  Trained(const RuleSettings& s, std::size_t n) : rule(make_rule(s)), p(random_values<T>(n, 7)) {
    state.assign(rule->states(), std::vector<T>(n, 0));
  }
  void step(const std::vector<T>& g, double lr, std::int64_t count, std::size_t begin, std::size_t end) {
    T* arrays[kStatesMax] = {};
    for (std::size_t k = 0; k < state.size(); ++k) arrays[k] = state[k].data() + begin;
    rule->apply(g.data() + begin, p.data() + begin, p.data() + begin, arrays, end - begin, lr, count);
  }
};

constexpr double lr_of(int t) { return 0.01 / (1 + 0.01 * t); }

template <class T>
class Rules : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(Rules, Types);

TYPED_TEST(Rules, FollowTheDefinitionFor100Steps) {
  constexpr std::size_t kN = 37;
  for (std::size_t r = 0; r < all_rules().size(); ++r) {
    Trained<TypeParam> ours(all_rules()[r], kN);
    std::vector<Reference> references;
    for (TypeParam p : ours.p) references.push_back({.s = all_rules()[r], .p = p});
    for (int t = 1; t <= 100; ++t) {
      const auto g = random_values<TypeParam>(kN, 1000 + t);
      ours.step(g, lr_of(t), t, 0, kN);
      for (std::size_t i = 0; i < kN; ++i) references[i].step(g[i], lr_of(t));
    }
    const double tolerance = sizeof(TypeParam) == 4 ? 1e-6 : 1e-14;
    for (std::size_t i = 0; i < kN; ++i)
      EXPECT_NEAR(ours.p[i], references[i].p, tolerance * std::max(1.0, std::abs(references[i].p))) << "rule " << r;
  }
}

TYPED_TEST(Rules, GiveEqualBitsOnEveryInstructionSetAndForEveryCut) {
  constexpr std::size_t kN = 300;
  for (std::size_t r = 0; r < all_rules().size(); ++r) {
    const auto train = [&](std::size_t piece) {
      Trained<TypeParam> t(all_rules()[r], kN);
      for (int step = 1; step <= 5; ++step) {
        const auto g = random_values<TypeParam>(kN, step);
        for (std::size_t i = 0; i < kN; i += piece) t.step(g, lr_of(step), step, i, std::min(kN, i + piece));
      }
      return t;
    };
    const Trained<TypeParam> whole = train(kN);
    on_every_target([&](const char* target) {
      for (std::size_t piece : {1, 3, 16, 17, 100, 300}) {
        const Trained<TypeParam> cut = train(piece);
        EXPECT_EQ(cut.p, whole.p) << "rule " << r << ", pieces of " << piece << ", " << target;
        EXPECT_EQ(cut.state, whole.state) << "rule " << r << ", pieces of " << piece << ", " << target;
      }
    });
  }
}

TEST(Rule, MayWriteElsewhere) {
  const auto g = random_values<float>(100, 1), p = random_values<float>(100, 2);
  for (const RuleSettings& s : layerwise_too()) {
    auto rule = make_rule(s);
    std::vector<std::vector<float>> state[2];
    for (auto& own : state) own.assign(kStatesMax, std::vector<float>(100));
    std::vector<float> in_place = p, elsewhere(100);
    float *a[kStatesMax], *b[kStatesMax];
    for (int k = 0; k < kStatesMax; ++k) a[k] = state[0][k].data(), b[k] = state[1][k].data();
    rule->apply(g.data(), in_place.data(), in_place.data(), a, 100, 0.1, 1);
    rule->apply(g.data(), p.data(), elsewhere.data(), b, 100, 0.1, 1);
    EXPECT_EQ(in_place, elsewhere);
  }
}

TEST(RuleSettings, DecodeWhatTheyEncode) {
  for (const RuleSettings& s : layerwise_too()) {
    std::vector<std::byte> bytes;
    Writer writer(bytes);
    s.encode(writer);
    Reader reader(bytes);
    Result<RuleSettings> back = RuleSettings::decode(reader);
    ASSERT_TRUE(back.ok() && reader.done());
    EXPECT_EQ(*back, s);
    Reader cut(ConstBytes(bytes).first(bytes.size() - 1));
    EXPECT_EQ(RuleSettings::decode(cut).status().code(), Code::corrupt);
    bytes[0] = std::byte{9};
    Reader unknown(bytes);
    EXPECT_EQ(RuleSettings::decode(unknown).status().code(), Code::corrupt);
  }
}

TEST(OptimizerSettings, DecodeWhatTheyEncode) {
  OptimizerSettings s(RuleSettings{.lr = 0.1});
  for (int g = 0; g < 3; ++g) s.groups.push_back({.lr = 0.1 * g, .momentum = 0.5});
  s.ema = 0.99;
  s.schedule = {.kind = Schedule::Kind::multistep, .warmup_steps = 3, .milestones = {4, 9}, .gamma = 0.3};
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  s.encode(writer);
  Reader reader(bytes);
  const Result<OptimizerSettings> back = OptimizerSettings::decode(reader);
  ASSERT_TRUE(back.ok() && reader.done());
  EXPECT_EQ(*back, s);
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    Reader cut(ConstBytes(bytes).first(n));
    EXPECT_EQ(OptimizerSettings::decode(cut).status().code(), Code::corrupt);
  }
  s.groups.push_back({.kind = Kind::adam});
  EXPECT_EQ(s.check().message(), "the groups of an optimizer have different rules");
  s.groups.pop_back();
  s.ema = 1;
  EXPECT_EQ(s.check().message(), "ema is 1; it must be at least 0 and below 1");
  s.groups.clear();
  EXPECT_EQ(s.check().code(), Code::invalid);
}

/// Every kind has a rate, that of average() too.
TEST(RuleSettings, RefuseANegativeRateOfEveryKind) {
  for (int kind = 0; kind <= static_cast<int>(RuleSettings::Kind::store); ++kind) {
    RuleSettings settings{.kind = static_cast<RuleSettings::Kind>(kind)};
    EXPECT_TRUE(settings.check().ok()) << name(settings.kind);
    settings.lr = -0.1;
    std::vector<std::byte> bytes;
    Writer writer(bytes);
    settings.encode(writer);
    Reader reader(bytes);
    EXPECT_EQ(RuleSettings::decode(reader).status().code(), Code::corrupt) << name(settings.kind);
  }
}

TEST(RuleSettings, NameTheSettingThatIsWrong) {
  const auto message = [](RuleSettings s) { return s.check().message(); };
  EXPECT_EQ(message({.momentum = -1}), "momentum is -1; it must be a number not below 0");
  EXPECT_EQ(message({.nesterov = true}), "nesterov needs a momentum above 0 and dampening = 0");
  EXPECT_NE(message({.momentum = 0.9, .dampening = 0.1, .nesterov = true}), "");
  EXPECT_NE(message({.weight_decay = std::nan("")}), "");
  EXPECT_EQ(message({.kind = Kind::adam, .beta1 = 1}), "beta1 is 1; it must be at least 0 and below 1");
  EXPECT_NE(message({.kind = Kind::adamw, .eps = -1}), "");
  EXPECT_EQ(message({.kind = Kind::adamw}), "");
  EXPECT_EQ(message({.kind = Kind::lars, .trust_coefficient = -2}),
            "trust_coefficient is -2; it must be a number not below 0");
}

}  // namespace
}  // namespace cohaul::update
