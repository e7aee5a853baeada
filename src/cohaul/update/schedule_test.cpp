#include "cohaul/update/schedule.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "cohaul/update/test_schedule_figures.h"

namespace cohaul::update {
namespace {

using Kind = Schedule::Kind;

TEST(Schedule, GivesTheRatesOfPyTorch) {
  for (const ScheduleFigures& figures : kScheduleFigures) {
    ASSERT_TRUE(figures.schedule.check().ok()) << figures.schedule.check().message();
    for (std::size_t t = 0; t < figures.factors.size(); ++t)
      EXPECT_NEAR(figures.schedule.at(static_cast<std::int64_t>(t)), figures.factors[t], 1e-9)
          << name(figures.schedule.kind) << ", warm-up " << figures.schedule.warmup_steps << ", update " << t;
  }
}

TEST(Schedule, StaysWhereItEnds) {
  const std::int64_t far = 1'000'000'000'000;
  EXPECT_EQ((Schedule{.kind = Kind::cosine, .steps = 10, .min = 0.25}.at(far)), 0.25);
  EXPECT_EQ((Schedule{.kind = Kind::polynomial, .steps = 10}.at(10)), 0);
  EXPECT_EQ((Schedule{.kind = Kind::polynomial, .steps = 10}.at(far)), 0);
  const Schedule cycle{.kind = Kind::one_cycle, .steps = 10};
  EXPECT_EQ(cycle.at(far), cycle.at(9));
  EXPECT_NEAR(cycle.at(9), 1 / 25e4, 1e-15);
  EXPECT_EQ((Schedule{.warmup_steps = 4}.at(far)), 1);
  EXPECT_GE((Schedule{.kind = Kind::restarts, .every = 3, .stretch = 1000}.at(far)), 0);
}

TEST(Schedule, NamesTheSettingThatIsWrong) {
  const auto message = [](const Schedule& s) { return s.check().message(); };
  EXPECT_EQ(message({.kind = Kind::cosine}), "schedule.steps is 0; it must be from 1 to 1000000000000000");
  EXPECT_EQ(message({.kind = Kind::step}), "schedule.every is 0; it must be from 1 to 1000000000000000");
  EXPECT_EQ(message({.kind = Kind::exponential, .gamma = -1}), "schedule.gamma is -1; it must be a number not below 0");
  EXPECT_NE(message({.kind = Kind::exponential, .gamma = std::numeric_limits<double>::quiet_NaN()}), "");
  EXPECT_EQ(message({.kind = Kind::cosine, .steps = 5, .min = 2}), "schedule.min is 2; it must be between 0 and 1");
  EXPECT_EQ(message({.kind = Kind::multistep, .milestones = {4, 2}}),
            "schedule.milestones must be numbers of updates from 1 on, in ascending order");
  EXPECT_NE(message({.kind = Kind::multistep}), "");
  EXPECT_NE(message({.kind = Kind::one_cycle, .steps = 3}), "");
  EXPECT_NE(message({.kind = Kind::one_cycle, .steps = 30, .pct_start = 1}), "");
  EXPECT_NE(message({.kind = Kind::restarts, .every = 1, .stretch = 5000}), "");
  EXPECT_NE(message({.warmup_steps = -1}), "");
  EXPECT_EQ(message({}), "");
}

TEST(Schedule, HasNames) {
  for (const Kind kind : {Kind::constant, Kind::step, Kind::one_cycle, Kind::inverse_sqrt})
    EXPECT_EQ(*schedule_kind(name(kind)), kind);
  EXPECT_FALSE(schedule_kind("cosinus").ok());
}

}  // namespace
}  // namespace cohaul::update
