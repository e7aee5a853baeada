// The plan of an all-reduce, for many placements of ranks on hosts.

#include "cohaul/collective/reduce_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

namespace cohaul::collective {
namespace {

using update::Layout;
using Hosts = std::vector<int>;

/// Several buckets, shared by many owners.
Layout model() {
  return *Layout::of({{"first", {300, 100}, DType::float32, true},
                      {"bias", {7}, DType::float32, true},
                      {"second", {40'000}, DType::float64, true},
                      {"last", {20'000}, DType::float32, true}});
}

/// Of all ranks.
struct Plans {
  Plans(const Layout& l, const Hosts& h, std::int32_t slices, bool shared = true) : layout(l), hosts(h) {
    for (std::size_t r = 0; r < hosts.size(); ++r)
      plans.emplace_back(layout, static_cast<int>(r), static_cast<int>(hosts.size()), slices, hosts, shared);
  }
  int ranks() const { return static_cast<int>(hosts.size()); }
  /// f(bucket, owner) of each portion that has elements.
  template <class F>
  void each_portion(F f) const {
    for (std::size_t bucket = 0; bucket < layout.buckets().size(); ++bucket)
      for (int owner = 0; owner < ranks(); ++owner)
        if (!plans[0].portion(bucket, owner).empty()) f(bucket, owner);
  }
  const Layout& layout;
  const Hosts hosts;
  std::vector<ReducePlan> plans;
};

struct Sent {
  int from, to;
  update::SliceRange slices;
};

/// What crosses hosts of a portion.
std::vector<Sent> crossing(const Plans& all, std::size_t bucket, int owner) {
  std::vector<Sent> out;
  for (const Term& term : all.plans[0].terms_of(owner)) {
    const int from = all.plans[0].sender(bucket, owner, term);
    if (all.hosts[static_cast<std::size_t>(from)] != all.hosts[static_cast<std::size_t>(owner)])
      out.push_back({from, owner, term.slices});
  }
  return out;
}

TEST(DealtSlices, AreNeighboursOnAHost) {
  EXPECT_EQ(update::deal_slices(4, Hosts{0, 0, 1, 1}),
            (std::vector<update::SliceRange>{{0, 1, 4}, {1, 2, 4}, {2, 3, 4}, {3, 4, 4}}));
  EXPECT_EQ(update::deal_slices(4, Hosts{0, 1, 0, 1}),
            (std::vector<update::SliceRange>{{0, 1, 4}, {2, 3, 4}, {1, 2, 4}, {3, 4, 4}}));
  EXPECT_EQ(update::deal_slices(7, Hosts{9, 4, 9}), (std::vector<update::SliceRange>{{0, 2, 7}, {4, 7, 7}, {2, 4, 7}}));
  for (int ranks = 1; ranks < 9; ++ranks) {
    Hosts each(static_cast<std::size_t>(ranks));
    std::iota(each.begin(), each.end(), 0);
    for (const Hosts& hosts : {Hosts(each.size(), 3), each})
      for (int r = 0; r < ranks; ++r)
        EXPECT_EQ(update::deal_slices(11, hosts)[static_cast<std::size_t>(r)], update::slices_of(11, r, ranks));
  }
}

TEST(ReducePlan, TwoHostsOfTwoSendOneSumEach) {
  const Layout layout = model();
  const Plans contiguous(layout, {0, 0, 1, 1}, 4), cyclic(layout, {0, 1, 0, 1}, 4);
  contiguous.each_portion([&](std::size_t bucket, int owner) {
    const auto sent = crossing(contiguous, bucket, owner);
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0].from / 2, 1 - owner / 2);
    EXPECT_EQ(sent[0].slices, owner < 2 ? (update::SliceRange{2, 4, 4}) : (update::SliceRange{0, 2, 4}));
  });
  cyclic.each_portion([&](std::size_t bucket, int owner) {
    const auto sent = crossing(cyclic, bucket, owner);
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0].from % 2, 1 - owner % 2);
    EXPECT_EQ(sent[0].slices, owner % 2 == 0 ? (update::SliceRange{2, 4, 4}) : (update::SliceRange{0, 2, 4}));
  });
}

/// Three slices for two workers, and so on: what a host has is several complete subtrees.
TEST(ReducePlan, AHostSendsOneSumForEachCompleteSubtree) {
  const Layout layout = model();
  const Plans all(layout, {0, 1, 1, 2, 2, 2}, 12);  // hosts have [0, 2), [2, 6), [6, 12) of the tree ((8) (4))
  all.each_portion([&](std::size_t bucket, int owner) {
    std::vector<update::SliceRange> slices;
    for (const Sent& s : crossing(all, bucket, owner)) slices.push_back(s.slices);
    const std::vector<update::SliceRange> of_host[] = {
        {{0, 2, 12}}, {{2, 4, 12}, {4, 6, 12}}, {{6, 8, 12}, {8, 12, 12}}};
    std::vector<update::SliceRange> expected;
    for (int h = 0; h < 3; ++h)
      if (h != all.hosts[static_cast<std::size_t>(owner)])
        expected.insert(expected.end(), of_host[h].begin(), of_host[h].end());
    EXPECT_EQ(slices, expected);
  });
}

TEST(ReducePlan, IsFlatWhereAHostHasAllOrOne) {
  const Layout layout = model();
  for (const Hosts& hosts : {Hosts{0, 0, 0, 0}, Hosts{0, 1, 2, 3}, Hosts{5}}) {
    const Plans all(layout, hosts, 7);
    for (const ReducePlan& plan : all.plans) {
      EXPECT_TRUE(plan.sums.empty());
      EXPECT_EQ(plan.sums_due, 0);
      EXPECT_EQ(plan.terms_of(plan.rank).size(), plan.parts.size());
      all.each_portion([&](std::size_t bucket, int owner) {
        for (std::int32_t part = 0; part < static_cast<std::int32_t>(plan.parts.size()); ++part)
          EXPECT_EQ(plan.next(bucket, owner, part), owner);
        for (int to = 0; to < plan.ranks; ++to) EXPECT_EQ(plan.teller(bucket, owner, to), owner);
      });
      for (int to = 0; to < plan.ranks; ++to) EXPECT_EQ(plan.spreader(to), 0);
    }
  }
}

TEST(ReducePlan, SharesAreSpreadOverAHostsRanks) {
  std::vector<update::ParameterSpec> specs;
  for (int p = 0; p < 24; ++p) specs.push_back({"p" + std::to_string(p), {20'000}, DType::float32, true});
  const Layout layout = *Layout::of(specs);
  const Plans all(layout, {0, 1, 1, 1}, 4);
  std::map<int, std::uint64_t> sums, relayed;
  all.each_portion([&](std::size_t bucket, int owner) {
    if (owner != 0) return;
    for (const Sent& s : crossing(all, bucket, owner)) sums[s.from] += all.plans[0].portion(bucket, owner).bytes;
    relayed[all.plans[0].relay(bucket, owner, 1)] += all.plans[0].portion(bucket, owner).bytes;
  });
  for (const auto& of : {sums, relayed}) {
    std::uint64_t least = UINT64_MAX, most = 0;
    for (const auto& [rank, bytes] : of) least = std::min(least, bytes), most = std::max(most, bytes);
    EXPECT_LE(most, 2 * least);
  }
  EXPECT_EQ(relayed.size(), 3u);
}

/// All ranks see the same plan, each from its side.
void expect_consistent(const Plans& all, bool shared) {
  const ReducePlan& any = all.plans[0];
  std::int32_t at = 0;
  for (const update::SliceRange& part : any.parts) EXPECT_EQ(std::exchange(at, part.last), part.first);
  std::map<std::tuple<int, int>, std::int32_t> parts, sums, told;  // from, to
  all.each_portion([&](std::size_t bucket, int owner) {
    std::int32_t part = 0;
    for (const Term& term : any.terms_of(owner)) {
      EXPECT_EQ(std::exchange(part, term.part_last), term.part_first);
      EXPECT_EQ(any.parts[static_cast<std::size_t>(term.part_first)].first, term.slices.first);
      EXPECT_EQ(any.parts[static_cast<std::size_t>(term.part_last) - 1].last, term.slices.last);
      EXPECT_EQ(update::subtrees_of(term.slices).size(), 1u);
      const int sender = any.sender(bucket, owner, term);
      if (term.is_sum()) ++sums[{sender, owner}];
      for (std::int32_t p = term.part_first; p < term.part_last; ++p) {
        const int holder = any.holder[static_cast<std::size_t>(p)], next = any.next(bucket, owner, p);
        EXPECT_EQ(next, term.is_sum() ? sender : owner);
        if (term.is_sum()) {
          EXPECT_TRUE(all.plans[static_cast<std::size_t>(holder)].is_near(sender));
        }
        ++parts[{holder, next}];
        for (const ReducePlan& plan : all.plans)
          EXPECT_EQ(plan.target(bucket, owner, p).slot >= 0, plan.rank == next || plan.rank == owner) << plan.rank;
      }
    }
    EXPECT_EQ(part, static_cast<std::int32_t>(any.parts.size()));
    for (int to = 0; to < all.ranks(); ++to) {
      const int from = any.teller(bucket, owner, to);
      if (to != owner && !(shared && all.plans[static_cast<std::size_t>(to)].is_near(from))) ++told[{from, to}];
    }
  });
  for (const ReducePlan& plan : all.plans) {
    std::set<std::int32_t> slots;
    all.each_portion([&](std::size_t bucket, int owner) {
      for (std::int32_t p = 0; p < static_cast<std::int32_t>(plan.parts.size()); ++p) {
        const bool sums_it = plan.next(bucket, owner, p) == plan.rank && owner != plan.rank;
        const ReducePlan::Target target = plan.target(bucket, owner, p);
        EXPECT_EQ(target.sum >= 0, sums_it);
        if (target.slot >= 0 && sums_it) {
          EXPECT_TRUE(slots.insert(target.slot).second);
        }
      }
    });
    if (!slots.empty()) {
      EXPECT_LT(*slots.rbegin(), plan.slots);
    }
    for (int from = 0; from < all.ranks(); ++from) {
      if (from != plan.rank) {
        EXPECT_EQ(plan.gradients[static_cast<std::size_t>(from)], (parts[{from, plan.rank}]));
        EXPECT_EQ(plan.portions_told[static_cast<std::size_t>(from)], (told[{from, plan.rank}]));
      }
      EXPECT_EQ(plan.sums_from[static_cast<std::size_t>(from)], (sums[{from, plan.rank}]));
    }
  }
}

TEST(ReducePlan, IsTheSameFromAllSides) {
  const Layout layout = model();
  for (const Hosts& hosts : {Hosts{0, 0, 1, 1}, Hosts{0, 1, 0, 1}, Hosts{0, 0, 0, 0}, Hosts{0, 1, 1, 2, 2, 2},
                             Hosts{4, 2, 4, 9, 2, 4}, Hosts{0, 1, 2}, Hosts{0}})
    for (const int more : {0, 1, 3, 6, 11})
      for (const bool shared : {true, false})
        expect_consistent(Plans(layout, hosts, static_cast<std::int32_t>(hosts.size()) + more, shared), shared);
  for (int ranks = 1; ranks <= 9; ++ranks)
    for (std::int32_t slices = ranks; slices < 3 * ranks + 2; ++slices)
      expect_consistent(Plans(layout, Hosts(static_cast<std::size_t>(ranks), 0), slices), true);
}

}  // namespace
}  // namespace cohaul::collective
