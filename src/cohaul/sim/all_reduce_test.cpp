#include "cohaul/sim/all_reduce.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace cohaul::sim {
namespace {

// A failing seed is printed. Put it here to run it alone.
constexpr std::uint64_t kReplay = 1;
constexpr std::uint64_t kSchedules = 1000;

TEST(AllReduce, Replay) {
  auto report = simulate(RankScenario::draw(kReplay));
  EXPECT_TRUE(report.ok()) << report.status().message();
}

TEST(AllReduce, KeepsItsPromisesOnAThousandSchedules) {
  std::int64_t faults = 0, failed = 0, killed = 0;
  for (std::uint64_t seed = 1; seed <= kSchedules; ++seed) {
    auto report = simulate(RankScenario::draw(seed));
    ASSERT_TRUE(report.ok()) << report.status().message();
    faults += report->faults;
    failed += report->failed;
    killed += report->killed;
  }
  // The schedules must contain faults, so that the test means something.
  EXPECT_GT(faults, 300);
  EXPECT_GT(failed, 500);
  EXPECT_GT(killed, 60);
}

TEST(AllReduce, TheSameSeedGivesTheSameRun) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    auto a = simulate(RankScenario::draw(seed)), b = simulate(RankScenario::draw(seed));
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_EQ(a->trace, b->trace) << "seed " << seed;
  }
}

RankScenario three_ranks(std::uint64_t seed) {
  RankScenario s;
  s.seed = seed;
  s.ranks = 3;
  s.slices = 5;
  s.steps = 3;
  s.shared = seed % 2 == 0;
  s.hosts = seed % 3 == 0 ? std::vector{0, 0, 0} : seed % 3 == 1 ? std::vector{0, 1, 0} : std::vector{0, 1, 2};
  if (seed % 4 < 2) s.policy.clip_norm = 0.5;
  s.delay_max = s.compute_max = 2 * kMillisecond;
  return s;
}

/// The rank dies between any two of its messages.
TEST(AllReduce, ADeathAtEveryPointOfAStepIsNamed) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    RankScenario s = three_ranks(seed);
    s.culprit = static_cast<int>(seed % 3);
    int killed = 1;
    for (s.dies_after_sends = 0; killed == 1; ++s.dies_after_sends) {
      auto report = simulate(s);
      ASSERT_TRUE(report.ok()) << report.status().message();
      killed = report->killed;
    }
    EXPECT_GT(s.dies_after_sends, 12);
  }
}

TEST(AllReduce, ALeaverIsNamed) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    RankScenario s = three_ranks(seed);
    s.culprit = static_cast<int>(seed % 3);
    s.leaves_after = static_cast<std::int64_t>(seed % 3);
    auto report = simulate(s);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->failed, 2);
  }
}

TEST(AllReduce, ASlowRankIsWaitedFor) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    RankScenario s = three_ranks(seed);
    s.faults = {{RankFault::Kind::slow, 1, 0, 3 * kMillisecond, 10 * kSecond}};
    auto report = simulate(s);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->faults, 1);
    EXPECT_EQ(report->failed, 0);
  }
}

}  // namespace
}  // namespace cohaul::sim
