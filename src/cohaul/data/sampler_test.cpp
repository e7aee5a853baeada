#include "cohaul/data/sampler.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <limits>

namespace cohaul::data {
namespace {

std::vector<std::int64_t> draw(Sampler& sampler, std::int64_t step, Slice slice) {
  std::vector<std::int64_t> out(static_cast<std::size_t>(slice.size()));
  sampler.indices(step, slice, out);
  return out;
}

SamplerOptions any_options() {
  return {.samples = *rc::gen::inRange<std::int64_t>(1, 60),
          .batch = *rc::gen::inRange<std::int64_t>(1, 40),
          .shuffle = *rc::gen::arbitrary<bool>(),
          .seed = *rc::gen::arbitrary<std::uint64_t>()};
}

RC_GTEST_PROP(Sampler, SlicesOfAnyProcessMakeTheBatch, ()) {
  SamplerOptions options = any_options();
  auto slices = *rc::gen::inRange<std::int64_t>(1, options.batch + 1);
  auto step = *rc::gen::inRange<std::int64_t>(0, 100);
  Sampler whole(options);
  std::vector<std::int64_t> all_parts;
  for (std::int64_t v = 0; v < slices; ++v) {
    Sampler other(options);  // as in another process, which has drawn nothing before
    auto part = draw(other, step, slice_of(options.batch, slices, v));
    RC_ASSERT(!part.empty());
    all_parts.insert(all_parts.end(), part.begin(), part.end());
  }
  RC_ASSERT(all_parts == draw(whole, step, {0, options.batch}));
}

RC_GTEST_PROP(Sampler, EveryPassDrawsEverySampleOnce, ()) {
  SamplerOptions options = any_options();
  Sampler sampler(options);
  std::vector<std::int64_t> drawn;
  for (std::int64_t step = 0; static_cast<std::int64_t>(drawn.size()) < 3 * options.samples; ++step) {
    auto batch = draw(sampler, step, {0, options.batch});
    drawn.insert(drawn.end(), batch.begin(), batch.end());
  }
  for (int pass = 0; pass < 3; ++pass) {
    std::vector<std::int64_t> one(drawn.begin() + pass * options.samples, drawn.begin() + (pass + 1) * options.samples);
    std::sort(one.begin(), one.end());
    for (std::int64_t i = 0; i < options.samples; ++i) RC_ASSERT(one[static_cast<std::size_t>(i)] == i);
  }
}

TEST(Sampler, UnshuffledWrapsAtTheEnd) {
  Sampler sampler({.samples = 10, .batch = 4, .shuffle = false});
  EXPECT_EQ(draw(sampler, 2, {0, 4}), (std::vector<std::int64_t>{8, 9, 0, 1}));
  EXPECT_EQ(draw(sampler, 2, {1, 3}), (std::vector<std::int64_t>{9, 0}));
}

TEST(Sampler, ShufflesByPassAndSeed) {
  auto pass = [](std::uint64_t seed, std::int64_t step) {
    Sampler s({.samples = 1000, .batch = 1000, .shuffle = true, .seed = seed});
    return draw(s, step, {0, 1000});
  };
  EXPECT_NE(pass(1, 0), pass(1, 1));
  EXPECT_NE(pass(1, 0), pass(2, 0));
  EXPECT_EQ(pass(1, 7), pass(1, 7));
  EXPECT_FALSE(std::ranges::is_sorted(pass(1, 0)));
}

TEST(Sampler, CutsAndCountsIn64BitsAndBeyond) {
  constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max() / 4;
  EXPECT_EQ(slice_of(kHuge, 1000, 999).last, kHuge);
  Sampler sampler({.samples = 7, .batch = 1'000'000'007, .shuffle = false});
  // (4e18·1000000007 + 5) mod 7
  EXPECT_EQ(draw(sampler, 4'000'000'000'000'000'000, {5, 6})[0],
            (4'000'000'000'000'000'000 % 7 * (1'000'000'007 % 7) + 5) % 7);
}

}  // namespace
}  // namespace cohaul::data
