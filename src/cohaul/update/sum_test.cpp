#include "cohaul/update/sum.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "cohaul/update/testing.h"

namespace cohaul::update {
namespace {

/// One element at a time, level by level, as the header says.
template <class T>
T pairwise(std::vector<T> level) {
  while (level.size() > 1) {
    std::vector<T> next;
    for (std::size_t k = 0; k < level.size(); k += 2)
      next.push_back(k + 1 < level.size() ? level[k] + level[k + 1] : level[k]);
    level = next;
  }
  return level[0];
}

template <class T>
struct Terms {
  std::vector<std::vector<T>> values;
  std::vector<const T*> pointers;
  Terms(std::size_t count, std::size_t n) {
    for (std::size_t k = 0; k < count; ++k) values.push_back(random_values<T>(n, 100 * n + k));
    for (const auto& v : values) pointers.push_back(v.data());
  }
  std::vector<T> sum(std::size_t n) const {
    std::vector<T> out(n);
    tree_sum(pointers, out.data(), n);
    return out;
  }
};

template <class T>
class Sum : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(Sum, Types);

TYPED_TEST(Sum, IsTheTreeOnEveryInstructionSet) {
  for (std::size_t count : {1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 33}) {
    for (std::size_t n : {0, 1, 31, 1023, 1024, 2500}) {
      const Terms<TypeParam> terms(count, n);
      std::vector<TypeParam> expected(n);
      for (std::size_t i = 0; i < n; ++i) {
        std::vector<TypeParam> column;
        for (const auto& v : terms.values) column.push_back(v[i]);
        expected[i] = pairwise(column);
      }
      on_every_target(
          [&](const char* target) { EXPECT_EQ(terms.sum(n), expected) << count << " × " << n << " " << target; });
    }
  }
}

TYPED_TEST(Sum, MayOverwriteAnyTerm) {
  constexpr std::size_t kN = 3000;
  for (std::size_t count = 1; count <= 6; ++count) {
    for (std::size_t k = 0; k < count; ++k) {
      Terms<TypeParam> terms(count, kN);
      const std::vector<TypeParam> expected = terms.sum(kN);
      tree_sum(terms.pointers, terms.values[k].data(), kN);
      EXPECT_EQ(terms.values[k], expected) << count << " terms, out = " << k;
    }
  }
}

RC_GTEST_PROP(SumCut, AnywhereEqualsTheWhole, ()) {
  constexpr std::size_t kN = 2100;
  const auto count = *rc::gen::inRange<std::size_t>(1, 9);
  const Terms<float> terms(count, kN);
  const std::vector<float> whole = terms.sum(kN);
  std::vector<float> cut(kN);
  for (std::size_t start = 0; start < kN;) {
    const std::size_t n = std::min(kN - start, *rc::gen::inRange<std::size_t>(1, 1100));
    std::vector<const float*> moved;
    for (const float* p : terms.pointers) moved.push_back(p + start);
    tree_sum(moved, cut.data() + start, n);
    start += n;
  }
  RC_ASSERT(cut == whole);
}

RC_GTEST_PROP(SumSubtrees, SummedBeforehandChangeNoBit, ()) {
  constexpr std::size_t kN = 50;
  const auto count = *rc::gen::inRange<std::size_t>(1, 40);
  const std::size_t leaves = std::size_t{1}
                             << *rc::gen::inRange(0, 5);  // of a complete subtree; the last may be shorter
  const Terms<float> terms(count, kN);
  std::vector<std::vector<float>> partial;
  for (std::size_t k = 0; k < count; k += leaves) {
    partial.emplace_back(kN);
    tree_sum(std::span(terms.pointers).subspan(k, std::min(leaves, count - k)), partial.back().data(), kN);
  }
  std::vector<const float*> pointers;
  for (const auto& p : partial) pointers.push_back(p.data());
  std::vector<float> out(kN);
  tree_sum(pointers, out.data(), kN);
  RC_ASSERT(out == terms.sum(kN));
}

TEST(Add, AddsInPlace) {
  std::vector<double> a{1, 2, 3}, b{10, 20, 30};
  add(a.data(), b.data(), 3);
  EXPECT_EQ(a, (std::vector<double>{11, 22, 33}));
}

}  // namespace
}  // namespace cohaul::update
