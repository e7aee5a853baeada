#include "cohaul/sim/simulation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cohaul/base/bytes.h"
#include "cohaul/job/member_session.h"

namespace cohaul::sim {
namespace {

using transport::Role;
using Mode = ps::Consistency::Kind;

// A failing seed is printed. Put it here to run it alone: sim_test --gtest_filter='*Replay*'.
constexpr std::uint64_t kReplay = 1;
constexpr std::uint64_t kSchedules = 1000;

TEST(ParameterServer, Replay) {
  auto report = simulate(Scenario::draw(kReplay));
  EXPECT_TRUE(report.ok()) << report.status().message();
}

TEST(ParameterServer, KeepsItsPromisesOnAThousandSchedules) {
  std::int64_t repeats = 0, faults = 0, losses = 0, went_on = 0, staleness = 0, left = 0, stopped = 0, skipped = 0;
  for (std::uint64_t seed = 1; seed <= kSchedules; ++seed) {
    Scenario scenario = Scenario::draw(seed);
    auto report = simulate(scenario);
    ASSERT_TRUE(report.ok()) << report.status().message();
    repeats += report->tables.repeats;
    faults += report->faults;
    losses += report->lost.has_value();
    went_on += report->lost.has_value() && scenario.goes_on;
    staleness = std::max(staleness, report->coordinator.staleness_max);
    left += report->left_early;
    stopped += report->left_early && scenario.leave->stop;
    skipped += report->skipped;
  }
  // The schedules must contain repeats and faults, so that the test means something.
  EXPECT_GT(repeats, 10'000);
  EXPECT_GT(faults, 1000);
  EXPECT_GT(losses, 300);
  EXPECT_GT(went_on, 100);
  EXPECT_GT(staleness, 5);
  EXPECT_GT(left, 30);
  EXPECT_GT(stopped, 10);
  EXPECT_GT(skipped, 200);
}

/// A loop that is stopped ends for all workers, and the next loop does the step that was returned.
TEST(ParameterServer, TheLoopAfterAStopDoesTheStepThatWasGivenBack) {
  for (bool stop : {false, true}) {
    for (Mode mode : {Mode::async, Mode::bounded}) {
      for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        Scenario s;
        s.seed = seed;
        s.consistency = {mode, 1};
        s.workers = 3;
        s.steps = 30;
        s.loops = 2;
        s.delay_max = s.compute_max = kMillisecond;
        s.repeat_rate = 0.3;
        s.leave = {.worker = 1, .after = 2, .stop = stop};
        auto report = simulate(s);
        ASSERT_TRUE(report.ok()) << report.status().message();
        EXPECT_TRUE(report->left_early);
        if (stop) EXPECT_LT(report->coordinator.pushes, 45) << "the first loop has ended early";
        else EXPECT_EQ(report->coordinator.pushes, 60) << "the others have done its part";
      }
    }
  }
}

TEST(ParameterServer, TheSameSeedGivesTheSameRun) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    auto a = simulate(Scenario::draw(seed)), b = simulate(Scenario::draw(seed)), c = simulate(Scenario::draw(seed + 1));
    ASSERT_TRUE(a.ok() && b.ok() && c.ok());
    EXPECT_EQ(a->trace, b->trace) << "seed " << seed;
    EXPECT_NE(a->trace, c->trace) << "seed " << seed;
    EXPECT_EQ(a->tables, b->tables);
    EXPECT_EQ(a->coordinator, b->coordinator);
  }
}

TEST(ParameterServer, SynchronousBitsDependOnNoSchedule) {
  for (std::uint64_t problem = 1; problem <= 5; ++problem) {
    std::vector<double> first;
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
      Scenario s = Scenario::draw(seed);
      s.consistency = {};
      s.problem = problem;
      s.policy = {};
      if (problem % 2 == 0) s.policy.clip_norm = 3;
      s.slices = problem < 3 ? 8 : 5;
      s.workers = static_cast<std::int32_t>(1 + seed % 5);
      s.loops = 1;
      s.leave.reset();
      s.servers = static_cast<std::int32_t>(1 + seed % 3);
      s.steps = 6;
      s.goes_on = false;
      s.faults.clear();
      auto report = simulate(s);
      ASSERT_TRUE(report.ok()) << report.status().message();
      if (first.empty()) first = report->result;
      ASSERT_EQ(std::memcmp(first.data(), report->result.data(), as_bytes(std::span(first)).size()), 0) << s.describe();
    }
  }
}

Scenario three_workers(Mode mode, std::uint64_t seed, const Fault& fault) {
  Scenario s;
  s.seed = seed;
  s.consistency = {mode, mode == Mode::bounded ? 1 : 0};
  s.workers = s.slices = 3;
  if (mode != Mode::sync) s.slices = 1;
  s.servers = 2;
  s.steps = 20;
  s.delay_max = s.compute_max = 2 * kMillisecond;
  s.goes_on = mode != Mode::sync;
  s.faults = {fault};
  return s;
}

Fault fault_of_worker_1(Fault::Kind kind, Duration lasts) {
  return {.kind = kind, .who = {Role::worker, 1}, .at = 20 * kMillisecond, .lasts = lasts};
}

TEST(Membership, ASlowWorkerIsNotLost) {
  for (Mode mode : {Mode::sync, Mode::async, Mode::bounded}) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      auto report = simulate(three_workers(mode, seed, fault_of_worker_1(Fault::Kind::slow, 10 * kSecond)));
      ASSERT_TRUE(report.ok()) << report.status().message();
      EXPECT_EQ(report->faults, 1);
      EXPECT_FALSE(report->lost);
    }
  }
}

TEST(Membership, AStoppedWorkerIsLostAndTheOthersDoItsStep) {
  for (Mode mode : {Mode::async, Mode::bounded}) {
    for (Duration lasts : {kForever, 3 * kSecond}) {
      for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        auto report = simulate(three_workers(mode, seed, fault_of_worker_1(Fault::Kind::stop, lasts)));
        ASSERT_TRUE(report.ok()) << report.status().message();
        EXPECT_EQ(report->lost, (job::MemberKey{Role::worker, 1}));
        EXPECT_EQ(report->coordinator.pushes, 20);
      }
    }
  }
}

/// A worker handles no messages while it computes, so only its own control thread can end it.
TEST(Membership, AWorkerThatComputesForLongIsEndedAfterTheGrace) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    Scenario s = three_workers(Mode::sync, seed, fault_of_worker_1(Fault::Kind::slow, 20 * kSecond));
    s.faults.push_back({.kind = Fault::Kind::kill, .who = {Role::worker, 2}, .at = kSecond});
    const auto report = simulate(s);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_EQ(report->lost, (job::MemberKey{Role::worker, 2}));
    EXPECT_GT(report->end, kSecond + job::MemberSession::kEndGrace);
    EXPECT_LT(report->end,
              kSecond + job::MemberSession::kEndGrace + job::Membership::kEvidenceGrace + 10 * s.delay_max);
  }
}

TEST(Membership, ALauncherThatDiesOrStandsStillEndsAll) {
  for (Mode mode : {Mode::sync, Mode::async}) {
    for (Duration lasts : {Duration{0}, 3 * kSecond, kForever}) {
      for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        const auto kind = lasts == 0 ? Fault::Kind::kill : Fault::Kind::stop;
        Scenario s = three_workers(mode, seed,
                                   {.kind = kind, .who = {Role::launcher, 0}, .at = 20 * kMillisecond, .lasts = lasts});
        s.goes_on = false;
        s.is_reaped = seed % 2 == 0;
        s.steps = 2000;
        const auto report = simulate(s);
        ASSERT_TRUE(report.ok()) << report.status().message();
        EXPECT_EQ(report->faults, 1);
        EXPECT_EQ(report->lost.has_value(), lasts == 3 * kSecond);
        EXPECT_LT(report->end, lasts == 3 * kSecond ? 3100 * kMillisecond : s.peer_timeout + 100 * kMillisecond);
      }
    }
  }
}

Scenario saving(std::uint64_t seed) {
  Scenario s = three_workers(Mode::sync, seed, {});
  s.faults.clear();
  s.slices = 5;
  s.steps = 8;
  s.save_after = 3;
  s.one_host = seed % 2 == 0;
  s.delay_max = s.compute_max = 200 * kMicrosecond;
  if (seed % 2 == 0) s.policy.clip_norm = 3;
  return s;
}

TEST(Checkpoint, IsOfOnePointBetweenTwoStepsOnEverySchedule) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Scenario s = saving(seed);
    s.workers = static_cast<std::int32_t>(1 + seed % 5);
    s.servers = static_cast<std::int32_t>(1 + seed % 3);
    s.save_after = static_cast<std::int64_t>(seed % 8);
    const auto report = simulate(s);
    ASSERT_TRUE(report.ok()) << report.status().message();
    EXPECT_TRUE(report->committed) << s.describe();
  }
}

/// Each process is killed at each moment between the meeting before a checkpoint and its end. Then there is a complete checkpoint, from which the run
/// can continue, or none.
TEST(Checkpoint, AKillAtEveryMessageOfASaveLeavesAWholeOneOrNone) {
  std::int64_t committed = 0, buckets = 0;
  for (std::uint64_t seed = 1; seed <= 2; ++seed) {
    const Scenario s = saving(seed);
    const auto whole = simulate(s);
    ASSERT_TRUE(whole.ok()) << whole.status().message();
    ASSERT_GT(whole->moments.size(), 10u);
    for (const job::MemberKey who : {job::MemberKey{Role::worker, 0}, job::MemberKey{Role::worker, 2},
                                     job::MemberKey{Role::server, 0}, job::MemberKey{Role::server, 1}}) {
      for (const Time at : whole->moments) {
        Scenario killed = s;
        killed.faults = {{.kind = Fault::Kind::kill, .who = who, .at = at}};
        const auto report = simulate(killed);
        ASSERT_TRUE(report.ok()) << report.status().message();
        committed += report->committed;
        ++buckets;
      }
    }
  }
  EXPECT_GT(committed, 0);
  EXPECT_LT(committed, buckets);
}

TEST(Membership, SynchronousTrainingEndsNamingTheLost) {
  for (Fault::Kind kind : {Fault::Kind::stop, Fault::Kind::kill}) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      auto report = simulate(three_workers(Mode::sync, seed, fault_of_worker_1(kind, kForever)));
      ASSERT_TRUE(report.ok()) << report.status().message();
      EXPECT_EQ(report->lost, (job::MemberKey{Role::worker, 1}));
    }
  }
}

}  // namespace
}  // namespace cohaul::sim
