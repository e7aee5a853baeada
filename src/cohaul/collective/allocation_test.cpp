// The steady state of the group and of the all-reduce exchange: no allocation.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>

#include "cohaul/base/testing/allocations.h"
#include "cohaul/collective/all_reduce_exchange.h"
#include "cohaul/collective/reduce_plan.h"
#include "cohaul/collective/test_ranks.h"

namespace cohaul::collective {
namespace {

class Allocation : public testing::TestWithParam<Setting> {
 protected:
  /// step(i) returns whether all went well. How many frames are out at once depends on which rank runs ahead, so pools and queues may
  /// still grow after the first steps; but not for long.
  template <class F>
  static void expect_none(F step) {
    bool ok = true;
    long fewest = -1;
    for (int hundred = 0; hundred < 10; ++hundred) {
      long before = testing_tools::allocations();
      for (int i = 0; i < 100; ++i) ok = ok && step(100 * hundred + i);
      long some = testing_tools::allocations() - before;
      fewest = hundred == 0 ? some : std::min(fewest, some);
    }
    EXPECT_EQ(fewest, 0) << "in the best 100 of 1000 steps";
    EXPECT_TRUE(ok);
  }
};
INSTANTIATE_TEST_SUITE_P(Steady, Allocation, testing::ValuesIn(settings(2, 3)), name_of);

TEST_P(Allocation, NoneInAHundredOperationsOfAGroup) {
  Ranks all(GetParam());
  all.run([&](Rank& rank) {
    Group& g = *rank.group;
    std::vector<float> data(5000, 1),
        piece(piece_of(data.size(), g.rank(), g.size()).end - piece_of(data.size(), g.rank(), g.size()).begin);
    Buffer whole = buffer(std::span(data)), mine = buffer(std::span(piece));
    expect_none([&](int i) {
      return g.all_reduce(whole).ok() && g.reduce_scatter(whole, mine).ok() && g.all_gather(mine, whole).ok() &&
             g.broadcast(whole, i % g.size()).ok() && g.barrier().ok();
    });
  });
}

TEST_P(Allocation, NoneInAHundredStepsOfTheExchange) {
  auto layout = *update::Layout::of({{"weight", {40'000}, DType::float32, true}, {"bias", {7}, DType::float32, true}});
  Ranks all(GetParam());
  all.run([&](Rank& rank) {
    auto memory = *transport::Arena::create("worker", 2 * layout.bytes());
    Bytes parameters = memory.bytes().first(layout.bytes()), gradients = memory.bytes().last(layout.bytes());
    const std::int32_t slices = GetParam().ranks + 1;
    const std::vector<int> hosts = GetParam().ranks == 3 ? std::vector{0, 0, 1} : std::vector{0, 0};
    auto exchange =
        *make_all_reduce_exchange(layout, update::RuleSettings{.lr = 0.1, .momentum = 0.9}, parameters, *rank.links,
                                  {.hosts = hosts, .slices = slices, .policy = {.clip_norm = 1}, .lend = {&memory}});
    ASSERT_TRUE(exchange->start(kForever).ok());
    const update::SliceRange mine = update::deal_slices(slices, hosts)[static_cast<std::size_t>(rank.rank)];
    const auto parts = static_cast<std::int32_t>(update::subtrees_of(mine).size());
    const std::vector<update::PartEnd> ends(static_cast<std::size_t>(parts), {1, 2});
    const std::byte absent[] = {std::byte{1}};
    expect_none([&](int i) {
      bool ok = exchange->begin({Step(i), mine}, {}).ok();
      for (std::int32_t part = 0; part < parts; ++part)
        for (std::size_t r = 0; r < layout.buckets().size(); ++r) {
          const update::Bucket& bucket = layout.buckets()[r];
          ok = ok && exchange
                         ->push({.part = part,
                                 .bucket = static_cast<std::int32_t>(r),
                                 .bytes = gradients.subspan(bucket.offset, bucket.bytes),
                                 .absent = std::span(absent).first(r == 1 ? 1 : 0),
                                 .samples = 2})
                         .ok();
        }
      return ok && exchange->finish(ends).ok();
    });
  });
}

}  // namespace
}  // namespace cohaul::collective
