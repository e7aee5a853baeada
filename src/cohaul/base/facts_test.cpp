#include "cohaul/base/facts.h"

#include <gtest/gtest.h>

namespace cohaul {
namespace {

std::string difference(std::string_view a, std::string_view b) {
  Status s = compare_facts(a, "worker 0", b, "worker 1");
  EXPECT_TRUE(s.ok() || s.code() == Code::invalid);
  return s.message();
}

TEST(Facts, EqualOnesAreOk) {
  EXPECT_EQ(difference("", ""), "");
  EXPECT_EQ(difference("a=1\nb=2\n", "a=1\nb=2\n"), "");
  EXPECT_EQ(difference("a=1\nb=2\n", "b=2\na=1"), "") << "their order is of no matter";
}

TEST(Facts, TheFirstThatDiffersIsNamedWithBothValues) {
  EXPECT_EQ(difference("seed=0\ntrain.batch=100\nlr=1\n", "seed=0\ntrain.batch=64\nlr=2\n"),
            "train.batch is 100 at worker 0 and 64 at worker 1: it must be the same at all workers");
}

TEST(Facts, WhatOneSideLacksIsNotSetThere) {
  EXPECT_EQ(difference("a=1\n", ""), "a is 1 at worker 0 and not set at worker 1: it must be the same at all workers");
  EXPECT_EQ(difference("a=1\n", "a=1\nb=x=y\n"),
            "b is not set at worker 0 and x=y at worker 1: it must be the same at all workers");
  EXPECT_EQ(difference("a=\n", "b=\n"),
            "a is empty at worker 0 and not set at worker 1: it must be the same at all workers");
  EXPECT_EQ(difference("alone", "alone=1"),
            "alone is empty at worker 0 and 1 at worker 1: it must be the same at all workers");
}

}  // namespace
}  // namespace cohaul
