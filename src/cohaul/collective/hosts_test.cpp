// An all-reduce over several hosts: what crosses them, and that nothing else is different.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "cohaul/collective/test_workers.h"

namespace cohaul::collective {
namespace {

using Hosts = std::vector<int>;

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const auto& [hosts, slices] : std::vector<std::pair<Hosts, std::vector<int>>>{{{0, 0, 1, 1}, {4, 5, 8, 11}},
                                                                                     {{0, 1, 0, 1}, {4, 6}},
                                                                                     {{0, 1, 1, 2, 2, 2}, {6, 13}},
                                                                                     {{2, 7, 2, 5, 7, 2}, {9}}})
    for (const int n : slices)
      for (const bool shared : {true, false})
        out.push_back({static_cast<int>(hosts.size()), n, shared, transport::Form::tcp, hosts});
  return out;
}
class SeveralHosts : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Of, SeveralHosts, testing::ValuesIn(cases()), case_name);

TEST_P(SeveralHosts, TakeTheMeanOfBuffersAsOneProcess) {
  expect_one_process(buffered_model(), GetParam(), {}, {});
  expect_one_process(buffered_model(), GetParam(), {.non_finite = update::NonFinite::skip}, {.not_finite_step = 1});
}

TEST_P(SeveralHosts, WatchAndClipAsOneProcess) {
  expect_one_process(model(), GetParam(), {.clip_norm = 1e-6, .watch_every = 2}, {.samples = true});
}

TEST_P(SeveralHosts, SwapAveragesAsOneProcess) {
  const Layout layout = model();
  Case c = GetParam();
  c.rule.ema = 0.5;
  Arena memory = *Arena::create("one", 2 * layout.bytes());
  const Bytes one = memory.bytes().first(layout.bytes());
  fill(one, 0);
  auto local = update::make_local_exchange(layout, c.rule, {}, one);
  Gradients gradients(layout, memory.bytes().last(layout.bytes()), {});
  for (std::int64_t s = 0; s < 3; ++s) {
    ASSERT_TRUE(local->begin({Step(s), {0, c.slices, c.slices}}, {}).ok());
    gradients.compute(s, {0, c.slices, c.slices});
    ASSERT_TRUE(gradients.push_all(*local, 0, s).ok());
    ASSERT_TRUE(local->finish(gradients.ends()).ok());
  }
  const std::vector<std::byte> parameters(one.begin(), one.end());
  ASSERT_TRUE(local->swap_averages(kForever).ok());
  with_workers(layout, c, [&](Worker& w, Rank& rank) {
    ASSERT_TRUE(w.steps(0, 3).ok());
    for (const ConstBytes expected : {ConstBytes(one), ConstBytes(parameters)}) {
      ASSERT_TRUE(rank.group->barrier().ok());
      ASSERT_TRUE(w.exchange->swap_averages(kForever).ok());
      ASSERT_TRUE(rank.group->barrier().ok());
      EXPECT_TRUE(std::ranges::equal(w.parameters, expected)) << "rank " << w.rank;
    }
    EXPECT_TRUE(w.step(3).ok());
  });
}

/// Also where a rank of another host has summed it.
TEST_P(SeveralHosts, NameWhoseGradientIsNotFinite) {
  const Case& c = GetParam();
  for (int rank = 0; rank < c.ranks; ++rank) {
    Problem problem{.not_finite_step = 1, .not_finite_parameter = 5, .not_finite_slice = slices_of(c, rank).first};
    with_workers(
        model(), c,
        [&](Worker& w, Rank&) {
          ASSERT_TRUE(w.step(0).ok());
          const Status stopped = w.step(1).status();
          EXPECT_TRUE(stopped.message().starts_with("trainer 0: step 2: the gradient of deep is not finite at worker " +
                                                    std::to_string(rank) + "; 1 such elements"))
              << stopped.message();
        },
        {.non_finite = update::NonFinite::stop}, problem);
  }
}

/// A rank has given up a step alone. Other hosts hear of it from the one that would have summed its gradients.
TEST_P(SeveralHosts, AreToldWhoIsInAnotherStep) {
  const Case& c = GetParam();
  std::atomic<int> told{0};
  with_workers(model(), c, [&](Worker& w, Rank& rank) {
    const int last = c.ranks - 1;
    EXPECT_TRUE(w.step(0).ok());
    EXPECT_TRUE(rank.group->barrier().ok());  // or a slow one would see a rank two steps ahead
    if (w.rank == last) {
      EXPECT_TRUE(w.begin(1).ok());
      EXPECT_TRUE(w.exchange->abandon().ok());
      EXPECT_TRUE(w.begin(2).ok());
      (void)w.gradients.push(*w.exchange, 0, 0);
    } else {
      const Status why = w.step(1).status();
      EXPECT_EQ(why.message(), "trainer 0: worker " + std::to_string(last) +
                                   " is in step 3, without an end of step 2, in which this worker is: all workers "
                                   "must do the same steps");
    }
    for (++told; told < c.ranks;) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
}

/// Payloads that all ranks have sent to other hosts.
std::uint64_t sent_to_others(const Case& c, Rank& rank) {
  std::uint64_t bytes = 0;
  for (int r = 0; r < c.ranks; ++r)
    if (c.hosts[static_cast<std::size_t>(r)] != c.hosts[static_cast<std::size_t>(rank.rank)])
      bytes += rank.links->channel(r).payload_bytes_sent();
  return bytes;
}

/// copies: of all portions, that a step's gradients cross in. New parameters cross once to each other host.
void expect_crossing(const Case& c, std::uint64_t copies) {
  const Layout layout = *Layout::of(
      {{"a", {40'000}, DType::float32, true}, {"b", {3}, DType::float32, true}, {"c", {30'000}, DType::float64, true}});
  std::uint64_t portions = 0;
  const ReducePlan plan(layout, 0, c.ranks, c.slices, c.hosts);
  for (const Portion& portion : plan.portions) portions += portion.bytes;
  const std::uint64_t others = plan.host_first.size() - 2;
  std::atomic<std::uint64_t> started{0}, stepped{0}, swapped{0};
  with_workers(layout, c, [&](Worker& w, Rank& rank) {
    started += sent_to_others(c, rank);
    for (std::int64_t s = 0; s < 3; ++s) {
      ASSERT_TRUE(w.exchange->begin({Step(s), w.slices}, {}).ok());
      const auto parts = static_cast<std::int32_t>(update::subtrees_of(w.slices).size());
      for (std::int32_t part = 0; part < parts; ++part) {
        for (std::size_t bucket = 0; bucket < layout.buckets().size(); ++bucket) {
          const update::Bucket& of = layout.buckets()[bucket];
          const auto pushed = w.exchange->push(
              {.part = part,
               .bucket = static_cast<std::int32_t>(bucket),
               .bytes = ConstBytes(w.memory.bytes()).last(layout.bytes()).subspan(of.offset, of.bytes)});
          ASSERT_TRUE(pushed.ok());
        }
      }
      ASSERT_TRUE(w.exchange->finish(std::vector<update::PartEnd>(static_cast<std::size_t>(parts), {1, 0})).ok());
    }
    stepped += sent_to_others(c, rank);
    ASSERT_TRUE(rank.group->barrier().ok());
    ASSERT_TRUE(w.exchange->swap_averages(kForever).ok());
    swapped += sent_to_others(c, rank);
  });
  EXPECT_EQ(started, others * layout.bytes());
  EXPECT_EQ(stepped - started, 3 * (copies + others) * portions);
  EXPECT_EQ(swapped - stepped, others * portions);
}

/// Two hosts with half of the tree each: a sum, and new parameters, cross once.
TEST(Crossing, IsOnceForTwoHostsOfTwo) {
  for (const Hosts& hosts : {Hosts{0, 0, 1, 1}, Hosts{0, 1, 0, 1}})
    for (const int slices : {4, 8})
      for (const bool shared : {true, false}) expect_crossing({4, slices, shared, transport::Form::tcp, hosts}, 1);
}

/// Each of three hosts has one of the subtrees ((0 1)(2 3))(4 5): its sum goes to the owners of two.
TEST(Crossing, IsTwiceForThreeHostsOfTwo) {
  expect_crossing({6, 6, true, transport::Form::tcp, {0, 0, 1, 1, 2, 2}}, 2);
  expect_crossing({6, 6, false, transport::Form::tcp, {0, 1, 2, 0, 1, 2}}, 2);
}

/// One rank on each: every gradient goes to the owners of all others.
TEST(Crossing, IsFlatForOneRankOnEach) { expect_crossing({3, 3, true, transport::Form::tcp, {0, 1, 2}}, 2); }

TEST(AllReduceHosts, AreAsManyAsWorkers) {
  const Layout layout = model();
  Ranks all({transport::Form::arena, 2});
  all.run([&](Rank& rank) {
    Arena memory = *Arena::create("memory", layout.bytes());
    auto made = make_all_reduce_exchange(layout, optimizer(), memory.bytes().first(layout.bytes()), *rank.links,
                                         {.hosts = {0, 0, 1}, .slices = 2});
    EXPECT_EQ(made.status().message(), "the hosts of 3 workers for 2");
  });
}

}  // namespace
}  // namespace cohaul::collective
