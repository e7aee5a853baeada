#include "cohaul/config/nearest.h"

#include <vector>

#include <gtest/gtest.h>

namespace cohaul::config {
namespace {

TEST(Nearest, Distance) {
  EXPECT_EQ(edit_distance("batch", "batch"), 0);
  EXPECT_EQ(edit_distance("btach", "batch"), 1);
  EXPECT_EQ(edit_distance("bach", "batch"), 1);
  EXPECT_EQ(edit_distance("All-Reduce", "all_reduce"), 0);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance(std::string(1000, 'a'), "abc"), 1000);
}

TEST(Nearest, OnlyWhatIsNearEnough) {
  const std::vector<std::string> names{"batch", "steps", "epochs", "log_every"};
  EXPECT_EQ(nearest("setps", names), "steps");
  EXPECT_EQ(nearest("logevry", names), "log_every");
  EXPECT_EQ(nearest("momentum", names), "");
  EXPECT_EQ(nearest("", names), "");
}

}  // namespace
}  // namespace cohaul::config
