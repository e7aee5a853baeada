#include "cohaul/gradient/page_heap.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "cohaul/base/random.h"

namespace cohaul::gradient {
namespace {

/// The pages of a memory: which are in use, and which take up memory.
struct Memory {
  PageHeap heap{[this](std::uint64_t first, std::uint64_t pages) {
    ++returns;
    for (std::uint64_t p = first; p < first + pages; ++p) {
      EXPECT_FALSE(used.contains(p)) << "a page in use is given back";
      touched.erase(p);
    }
  }};
  std::map<std::uint64_t, std::uint64_t> blocks;
  std::set<std::uint64_t> used, touched;
  std::size_t most = 0;
  int returns = 0;

  bool take(std::uint64_t pages) {
    const auto first = heap.take(pages);
    if (!first) return false;
    EXPECT_LE(*first + pages, heap.pages());
    for (std::uint64_t p = *first; p < *first + pages; ++p) {
      EXPECT_TRUE(used.insert(p).second) << "two have page " << p;
      touched.insert(p);
    }
    blocks[*first] = pages;
    most = std::max(most, used.size());
    return true;
  }
  void put_back(std::map<std::uint64_t, std::uint64_t>::iterator block) {
    heap.put_back(block->first);
    for (std::uint64_t p = block->first; p < block->first + block->second; ++p) used.erase(p);
    blocks.erase(block);
  }
};

TEST(PageHeap, SplitsAndMerges) {
  Memory m;
  m.heap.grow(100);
  EXPECT_FALSE(m.take(101));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(m.take(25));
  EXPECT_FALSE(m.take(1));
  // Freed in an order other than that of the pages.
  for (const std::uint64_t first : {50, 0, 75, 25}) m.put_back(m.blocks.find(first));
  EXPECT_TRUE(m.take(100)) << "four neighbours are one block again";
}

TEST(PageHeap, MakesNoBlockOfTwoWindows) {
  Memory m;
  m.heap.grow(10);
  m.heap.grow(10);
  EXPECT_FALSE(m.take(11));
  ASSERT_TRUE(m.take(10) && m.take(10));
  while (!m.blocks.empty()) m.put_back(m.blocks.begin());
  EXPECT_FALSE(m.take(11));
}

TEST(PageHeap, TheSameAgainTouchesNothingNew) {
  Memory m;
  m.heap.grow(1 << 14);
  for (int step = 0; step < 20; ++step) {
    for (const std::uint64_t pages : {700, 3, 90, 1, 512, 33}) ASSERT_TRUE(m.take(pages));
    while (!m.blocks.empty()) m.put_back(m.blocks.begin());
    EXPECT_EQ(m.touched.size(), m.most);
  }
  EXPECT_EQ(m.returns, 0);
}

TEST(PageHeap, WhatIsFreeStaysSmall) {
  Memory m;
  Random random(1, 2);
  m.heap.grow(1 << 16);
  for (int i = 0; i < 20'000; ++i) {
    const bool takes = m.blocks.empty() || (m.used.size() < 2000 && random.below(2) == 0);
    if (takes) ASSERT_TRUE(m.take(1 + random.below(random.below(8) == 0 ? 600 : 40)));
    else m.put_back(std::next(m.blocks.begin(), static_cast<std::ptrdiff_t>(random.below(m.blocks.size()))));
    ASSERT_EQ(m.heap.live(), m.used.size());
    ASSERT_EQ(m.heap.touched(), m.touched.size());
    ASSERT_LE(m.touched.size(), m.most + m.most / 8 + 128);
  }
  EXPECT_GT(m.returns, 0);
  m.heap.give_back_all();
  EXPECT_EQ(m.touched, m.used);
}

}  // namespace
}  // namespace cohaul::gradient
