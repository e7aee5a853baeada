#include "cohaul/sim/simulation.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace cohaul::sim {
namespace {

// A failing seed is printed; put it here to see it alone: simulation_test --gtest_filter='*Replay*'.
constexpr std::uint64_t kReplay = 0;
constexpr std::uint64_t kSchedules = 1000;

TEST(ParameterServer, Replay) {
  auto report = simulate(Scenario::draw(kReplay));
  EXPECT_TRUE(report.ok()) << report.status().message();
}

TEST(ParameterServer, KeepsItsPromisesOnAThousandSchedules) {
  std::int64_t frames = 0, repeats = 0, deaths = 0, staleness = 0;
  for (std::uint64_t seed = 1; seed <= kSchedules; ++seed) {
    Scenario scenario = Scenario::draw(seed);
    auto report = simulate(scenario);
    ASSERT_TRUE(report.ok()) << report.status().message();
    frames += report->frames;
    repeats += report->tables.repeats;
    deaths += static_cast<std::int64_t>(scenario.deaths.size());
    staleness = std::max(staleness, report->coordinator.staleness_max);
  }
  // The schedules are worth something: things did go wrong in them.
  EXPECT_GT(frames, 100'000);
  EXPECT_GT(repeats, 10'000);
  EXPECT_GT(deaths, 100);
  EXPECT_GT(staleness, 5);
}

TEST(ParameterServer, TheSameSeedGivesTheSameRun) {
  for (std::uint64_t seed : {3, 14, 15, 92}) {
    auto a = simulate(Scenario::draw(seed)), b = simulate(Scenario::draw(seed));
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_EQ(a->frames, b->frames);
    EXPECT_EQ(a->tables, b->tables);
    EXPECT_EQ(a->coordinator, b->coordinator);
  }
}

}  // namespace
}  // namespace cohaul::sim
