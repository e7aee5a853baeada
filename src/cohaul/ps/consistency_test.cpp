#include "cohaul/ps/consistency.h"

#include <gtest/gtest.h>

#include "cohaul/ps/applied_steps.h"
#include "cohaul/ps/placement.h"
#include "cohaul/ps/versions.h"

namespace cohaul::ps {
namespace {

using Kinds = Consistency::Kind;
using State = Progress::State;

TEST(Consistency, OnlyBoundedHoldsBack) {
  EXPECT_TRUE(may_start({Kinds::async, 0}, 1000, 0).yes);
  EXPECT_TRUE(may_start({Kinds::bounded, 3}, 3, 0).yes);
  EXPECT_FALSE(may_start({Kinds::bounded, 3}, 4, 0).yes);
  EXPECT_TRUE(may_start({Kinds::bounded, 0}, 7, 7).yes);
}

TEST(Consistency, FinishedAndLostWorkersLeaveTheMinimum) {
  std::vector<Progress> workers{
      {State::finished, 1, 0}, {State::lost, 0, 0}, {State::draining, 5, 0}, {State::waiting, 6, 0}};
  EXPECT_EQ(slowest(workers), 5);
  workers[2].state = State::finished;
  EXPECT_EQ(slowest(workers), 6);
  workers[3].state = State::lost;
  EXPECT_EQ(slowest(workers), std::nullopt);
}

TEST(Consistency, TheSlowestStartsFirstThenWhoWaitsLongest) {
  std::vector<Progress> workers{
      {State::waiting, 4, 1}, {State::waiting, 3, 3}, {State::waiting, 3, 2}, {State::computing, 2, 0}};
  EXPECT_EQ(next_to_start({Kinds::async, 0}, workers), WorkerRank(2));
  EXPECT_EQ(next_to_start({Kinds::bounded, 0}, workers), std::nullopt);
}

TEST(Consistency, ASynchronousUpdateWaitsForAllSlices) {
  EXPECT_FALSE(update_is_due({Kinds::sync, 0}, 3, 4).yes);
  EXPECT_TRUE(update_is_due({Kinds::sync, 0}, 4, 4).yes);
  EXPECT_TRUE(update_is_due({Kinds::async, 0}, 1, 4).yes);
}

TEST(Placement, EveryServerGetsItsShare) {
  for (std::int32_t servers : {1, 2, 3, 5}) {
    std::vector<int> count(servers);
    for (std::int32_t p = 0; p < 640; ++p) ++count.at(server_of(PartitionId(p), servers).value);
    for (int n : count) EXPECT_NEAR(n, 640 / servers, 10);
  }
}

TEST(AppliedSteps, KeepsOnlyTheHoles) {
  AppliedSteps applied;
  EXPECT_TRUE(applied.add(Step(2)));
  EXPECT_TRUE(applied.contains(Step(2)));
  EXPECT_FALSE(applied.contains(Step(0)));
  EXPECT_FALSE(applied.contains(Step(3)));
  EXPECT_TRUE(applied.add(Step(0)));
  EXPECT_TRUE(applied.contains(Step(0)));
  EXPECT_FALSE(applied.contains(Step(1)));
  EXPECT_FALSE(applied.add(Step(1'000'000'000'000)));
  EXPECT_FALSE(applied.contains(Step(1'000'000'000'000)));
}

TEST(Versions, APinnedVersionNeverChangesAndBuffersAreReused) {
  HeapMemory memory;
  Versions versions(memory, 100);
  const std::byte* first = versions.current().data();
  EXPECT_EQ(versions.next().data(), first) << "nobody reads it: in place";
  auto pin = versions.pin();
  EXPECT_NE(versions.next().data(), first);
  versions.publish();
  EXPECT_NE(versions.current().data(), first);
  auto second = versions.pin();
  const std::byte* third = versions.next().data();
  EXPECT_NE(third, first);
  EXPECT_NE(third, versions.current().data());
  pin.reset();
  EXPECT_EQ(versions.next().data(), first);
  EXPECT_EQ(versions.memory_bytes(), 300u);
}

}  // namespace
}  // namespace cohaul::ps
