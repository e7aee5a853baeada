#include "cohaul/update/gradient_policy.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "cohaul/update/block_ops.h"
#include "cohaul/update/gradient_squares.h"
#include "cohaul/update/owner.h"
#include "cohaul/update/slices.h"
#include "cohaul/update/testing.h"

namespace cohaul::update {
namespace {

double any_size(std::uint64_t mantissa, int exponent) {
  return std::ldexp(static_cast<double>(mantissa >> 11), exponent - 53);
}

RC_GTEST_PROP(ExactSum, HasTheSameBitsInAnyOrderAndHoweverItIsShared, ()) {
  const auto values = *rc::gen::container<std::vector<double>>(
      rc::gen::apply(any_size, rc::gen::arbitrary<std::uint64_t>(), rc::gen::inRange(-1070, 1000)));
  std::vector<double> shuffled = values;
  std::reverse(shuffled.begin(), shuffled.end());
  ExactSum in_order, left, right;
  for (double v : values) in_order.add(v);
  for (std::size_t i = 0; i < shuffled.size(); ++i) (i % 3 == 0 ? left : right).add(shuffled[i]);
  left.merge(right);
  RC_ASSERT(left == in_order);
  RC_ASSERT(left.value() == in_order.value());
}

TEST(ExactSum, LosesNothing) {
  ExactSum s;
  s.add(1e300);
  for (int i = 0; i < 1000; ++i) s.add(1e-300);
  ExactSum large;
  large.add(1e300);
  EXPECT_FALSE(s == large);
  ExactSum small, expected;
  for (int i = 0; i < 1024; ++i) small.add(5e-324);
  EXPECT_EQ(small.value(), 1024 * 5e-324);
  for (int i = 0; i < 10; ++i) expected.add(0.1);
  EXPECT_NEAR(expected.value(), 1.0, 1e-15);
  for (int i = 0; i < 4; ++i) large.add(std::numeric_limits<double>::max());
  EXPECT_EQ(large.value(), std::numeric_limits<double>::infinity());
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  small.encode(writer);
  Reader reader(bytes);
  EXPECT_TRUE(*ExactSum::decode(reader) == small);
  Reader cut(ConstBytes(bytes).first(bytes.size() - 1));
  EXPECT_EQ(ExactSum::decode(cut).status().code(), Code::corrupt);
}

TEST(BlockOps, HaveEqualBitsOnEveryInstructionSet) {
  for (std::size_t n : {0, 1, 15, 16, 17, 100, 1023, 1024}) {
    const auto f = random_values<float>(n, n);
    const auto d = random_values<double>(n, n + 1);
    const double of_f = squares(f.data(), n), of_d = squares(d.data(), n);
    double plain = 0;
    for (float x : f) plain += static_cast<double>(x) * x;
    EXPECT_NEAR(of_f, plain, 1e-12 * (plain + 1));
    std::vector<float> scaled(n);
    scale(f.data(), scaled.data(), n, 0.3, 0.1);
    on_every_target([&](const char* target) {
      EXPECT_EQ(squares(f.data(), n), of_f) << target << n;
      EXPECT_EQ(squares(d.data(), n), of_d) << target << n;
      std::vector<float> again(n);
      scale(f.data(), again.data(), n, 0.3, 0.1);
      EXPECT_EQ(again, scaled) << target << n;
    });
  }
}

TEST(BlockOps, WhatIsNotANumberStaysSo) {
  on_every_target([&](const char* target) {
    const std::vector<float> x{NAN, INFINITY, -INFINITY, 1, 2, 3, 4, 5, NAN};
    std::vector<float> out(x.size());
    scale(x.data(), out.data(), x.size(), 1, 2);
    EXPECT_TRUE(std::isnan(out[0]) && std::isnan(out[8])) << target;
    EXPECT_EQ(out[1], 2) << target;
    EXPECT_EQ(out[2], -2) << target;
    EXPECT_FALSE(std::isfinite(squares(x.data(), x.size()))) << target;
  });
}

TEST(Decide, ClipsAsClipGradNorm) {
  GradientFacts facts;
  facts.squares.add(9);
  facts.squares.add(16);
  EXPECT_EQ(decide({}, facts).factor, 1);
  EXPECT_FALSE(decide({}, facts).norm.has_value());
  const StepPlan clipped = decide({.clip_norm = 1}, facts), within = decide({.clip_norm = 10}, facts);
  EXPECT_DOUBLE_EQ(clipped.factor, 1 / (5 + 1e-6));
  EXPECT_EQ(*clipped.norm, 5);
  EXPECT_EQ(within.factor, 1);
  const StepPlan averaged = decide({.clip_norm = 1}, facts, 10);  // the mean gradient's norm is 0.5
  EXPECT_EQ(*averaged.norm, 0.5);
  EXPECT_EQ(averaged.factor, 0.1);
}

TEST(Decide, StopsOrSkipsWhatIsNotFinite) {
  GradientFacts facts;
  facts.non_finite = 2;
  EXPECT_EQ(decide({.non_finite = NonFinite::stop}, facts).action, StepPlan::Action::stop);
  EXPECT_EQ(decide({.non_finite = NonFinite::skip}, facts).action, StepPlan::Action::skip);
  EXPECT_EQ(decide({.clip_norm = 1}, facts).action, StepPlan::Action::apply);
  GradientFacts other;
  other.non_finite = 1, other.parameter = 3, other.worker = 2;
  facts.merge(other);
  EXPECT_EQ(facts.non_finite, 3);
  EXPECT_EQ(facts.parameter, 3);
  EXPECT_EQ(facts.worker, 2);
}

TEST(GradientPolicy, DecodesWhatItEncodes) {
  const GradientPolicy p{.clip_norm = 2, .non_finite = NonFinite::skip, .watch_every = 7};
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  p.encode(writer);
  Reader reader(bytes);
  EXPECT_EQ(*GradientPolicy::decode(reader), p);
  EXPECT_FALSE((GradientPolicy{.clip_norm = -1}).check().ok());
  EXPECT_FALSE((GradientPolicy{.clip_norm = NAN}).check().ok());
  EXPECT_FALSE((GradientPolicy{.clip_norm = 1, .clip_value = 1}).check().ok());
  EXPECT_FALSE((GradientPolicy{.watch_every = -1}).check().ok());
}

TEST(GradientPolicy, WatchesTheFirstUpdateAndEveryNth) {
  std::vector<std::int64_t> watched;
  for (std::int64_t update = 0; update < 13; ++update)
    if (GradientPolicy{.watch_every = 4}.watches(update)) watched.push_back(update + 1);
  EXPECT_EQ(watched, (std::vector<std::int64_t>{1, 4, 8, 12}));
  EXPECT_FALSE(GradientPolicy{}.watches(0));
}

/// Owners of other partitions measure the same gradient, and tell each other.
TEST(GradientSquares, HaveTheSameBitsWhoeverOwnsWhat) {
  const Layout l = *Layout::of({{"large", {100'000}},
                                {"small", {70}},
                                {"absent", {30}},
                                {"none", {0}},
                                {"mean", {9}, DType::float32, true, 0, Reduce::mean}});
  const std::vector<float> gradient = random_values<float>(l.bytes() / 4, 8);
  const auto norms = [&](std::int32_t owners) {
    std::vector<GradientSquares> each(static_cast<std::size_t>(owners), GradientSquares(l, true));
    const auto owner = [&](std::int32_t k) { return [=](PartitionId p) { return p.value % owners == k; }; };
    for (std::size_t p = 0; p < l.partitions().size(); ++p) {
      const Partition& partition = l.partitions()[p];
      const update::Bucket& bucket = l.buckets()[static_cast<std::size_t>(partition.bucket)];
      std::vector<std::byte> mask;
      if (bucket.parameter_first <= 2 && 2 < bucket.parameter_last)
        set_absent(mask, static_cast<std::size_t>(2 - bucket.parameter_first),
                   static_cast<std::size_t>(bucket.parameter_last - bucket.parameter_first));
      const Contribution one{
          std::as_bytes(std::span(gradient)).subspan(partition.offset, partition.bytes), mask, {0, 1, 1}};
      GradientFacts facts;
      const PartitionId id(static_cast<std::int32_t>(p));
      measure(l, id, {&one, 1}, facts, each[p % static_cast<std::size_t>(owners)].of(id));
    }
    for (std::int32_t k = 1; k < owners; ++k) {
      const std::vector<double> told = each[static_cast<std::size_t>(k)].of_owner(owner(k));
      const ConstBytes bytes = std::as_bytes(std::span(told));
      EXPECT_FALSE(each[0].take(bytes.first(bytes.size() - 8), owner(k)));
      EXPECT_TRUE(each[0].take(bytes, owner(k)));
    }
    return each[0].norms(10);
  };
  const std::vector<double> alone = norms(1);
  double squares = 0;
  for (std::size_t i = 0; i < 100'000; ++i) squares += static_cast<double>(gradient[i]) * gradient[i];
  EXPECT_NEAR(alone[0], std::sqrt(squares) / 10, 1e-10);
  EXPECT_GT(alone[1], 0);
  EXPECT_EQ(alone[2], kNoGradient);
  EXPECT_EQ(alone[3], kNoGradient);
  EXPECT_EQ(alone[4], kNoGradient);
  EXPECT_EQ(norms(2), alone);
  EXPECT_EQ(norms(5), alone);
}

TEST(Slices, AreSharedEvenlyAndCutIntoCompleteSubtrees) {
  EXPECT_EQ(subtrees_of({2, 5, 5}), (std::vector<SliceRange>{{2, 4, 5}, {4, 5, 5}}));
  EXPECT_EQ(subtrees_of({0, 5, 5}), (std::vector<SliceRange>{{0, 5, 5}}));
  EXPECT_EQ(subtrees_of({1, 7, 8}), (std::vector<SliceRange>{{1, 2, 8}, {2, 4, 8}, {4, 6, 8}, {6, 7, 8}}));
  for (std::int32_t workers = 1; workers < 9; ++workers) {
    std::int32_t next = 0;
    for (std::int32_t r = 0; r < workers; ++r) {
      const SliceRange mine = slices_of(11, r, workers);
      EXPECT_EQ(mine.first, next);
      EXPECT_GE(mine.size(), 1);
      next = mine.last;
    }
    EXPECT_EQ(next, 11);
  }
}

}  // namespace
}  // namespace cohaul::update
