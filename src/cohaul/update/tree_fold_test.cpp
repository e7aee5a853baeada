#include "cohaul/update/tree_fold.h"

#include <gtest/gtest.h>

#include <string>

namespace cohaul::update {
namespace {

std::string combine(std::string left, std::string right) { return "(" + left + right + ")"; }

/// The order in which leaves 0 … n−1 are summed; those in `absent` add nothing.
std::optional<std::string> order(int n, const std::string& absent = "") {
  TreeFold<std::string> fold;
  for (int i = 0; i < n; ++i) {
    std::string leaf = std::to_string(i);
    fold.add(absent.find(leaf) == std::string::npos ? std::optional(leaf) : std::nullopt, combine);
  }
  return fold.take(combine);
}

TEST(TreeFold, NeighboursArePairedLevelByLevelAndAnOddOneMovesUp) {
  EXPECT_EQ(order(1), "0");
  EXPECT_EQ(order(2), "(01)");
  EXPECT_EQ(order(3), "((01)2)");
  EXPECT_EQ(order(5), "(((01)(23))4)");
  EXPECT_EQ(order(7), "(((01)(23))((45)6))");
  EXPECT_EQ(order(8), "(((01)(23))((45)(67)))");
}

TEST(TreeFold, AnAbsentLeafLosesNoOther) {
  EXPECT_EQ(order(4, "1"), "(0(23))");
  EXPECT_EQ(order(4, "13"), "(02)");
  EXPECT_EQ(order(4, "02"), "(13)");
  EXPECT_EQ(order(3, "2"), "(01)");
  EXPECT_EQ(order(6, "0145"), "(23)");
  EXPECT_EQ(order(4, "0123"), std::nullopt);
}

TEST(TreeFold, IsEmptyAgainOnceTaken) {
  TreeFold<std::string> fold;
  fold.add("a", combine);
  fold.add("b", combine);
  EXPECT_EQ(fold.take(combine), "(ab)");
  fold.add("c", combine);
  EXPECT_EQ(fold.take(combine), "c");
}

}  // namespace
}  // namespace cohaul::update
