#include "cohaul/base/random.h"

#include <gtest/gtest.h>

#include <vector>

namespace cohaul {
namespace {

// The known answers of the authors' Random123 distribution, philox4x32-10.
TEST(Philox, KnownAnswers) {
  using C = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (C{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (C{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (C{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, SameSeedSameNumbersOtherStreamOtherNumbers) {
  Random a(7, 1), b(7, 1), c(7, 2);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    auto x = a();
    EXPECT_EQ(x, b());
    differs |= x != c();
  }
  EXPECT_TRUE(differs);
}

TEST(Random, BelowIsInRangeAndReachesAll) {
  Random r(1);
  std::vector<int> seen(7);
  for (int i = 0; i < 7000; ++i) ++seen.at(r.below(7));
  for (int n : seen) EXPECT_NEAR(n, 1000, 150);
}

TEST(MixSeed, NeighboursDiffer) {
  EXPECT_NE(mix_seed(0, 0, 0), mix_seed(0, 0, 1));
  EXPECT_NE(mix_seed(0, 0, 1), mix_seed(0, 1, 0));
}

}  // namespace
}  // namespace cohaul
