#include "cohaul/base/hash.h"

#include <gtest/gtest.h>

namespace cohaul {
namespace {

TEST(Hash, IsXxh3) {
  EXPECT_EQ(hash64({}), 0x2D06800538D394C2) << "as xxhsum -H3 has it";
  EXPECT_EQ(hash64({}, 1), hash64({}, 1));
  EXPECT_EQ(hash128({}), "99aa06d3014798d86001c324468d497f") << "as xxhsum -H2 has it";
}

TEST(Hash, GoesOnFromTheHashSoFar) {
  const auto a = as_bytes(std::string_view("a")), b = as_bytes(std::string_view("b"));
  const std::uint64_t ab = hash64(b, hash64(a));
  EXPECT_EQ(ab, hash64(b, hash64(a)));
  EXPECT_NE(ab, hash64(a, hash64(b))) << "the order counts";
  EXPECT_NE(ab, hash64(b)) << "so do the bytes before";
}

}  // namespace
}  // namespace cohaul
