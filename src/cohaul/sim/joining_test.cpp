#include "cohaul/sim/joining.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "cohaul/job/rendezvous.h"

namespace cohaul::sim {
namespace {

using job::ControlKind;

// A worker pauses twice for up to 1 s. It exchanges twelve heartbeats and answers, seven requests and replies, and news.
constexpr std::int64_t kMemberMessages = 50;

/// Simulates a job, and prints its number of messages.
JoinReport join(const Crowd& crowd) {
  const auto report = simulate_joining(crowd);
  EXPECT_TRUE(report.ok()) << report.status().message();
  if (!report.ok()) return {};
  const Traffic::Count all = report->rendezvous.all();
  std::printf(
      "%d workers, %d servers: the rendezvous handles %lld messages of %lld bytes, a worker at most %lld of %lld\n",
      crowd.workers, crowd.servers, static_cast<long long>(all.messages), static_cast<long long>(all.bytes),
      static_cast<long long>(report->worker.messages), static_cast<long long>(report->worker.bytes));
  return *report;
}

std::int64_t messages(const JoinReport& report, ControlKind kind) {
  const auto found = report.rendezvous.kinds.find(kind);
  return found == report.rendezvous.kinds.end() ? 0 : found->second.messages;
}

TEST(Joining, AThousandWorkersAndTheirServersCostTheRendezvousSoManyMessagesEach) {
  const JoinReport report = join({.workers = 1024, .servers = 64});
  constexpr std::int64_t kMembers = 1024 + 64;
  EXPECT_LT(report.rendezvous.all().messages, kMembers * kMemberMessages);
  EXPECT_LT(report.rendezvous.all().bytes, 12 << 20);
  EXPECT_LT(report.worker.messages, kMemberMessages);
  EXPECT_LT(report.server.messages, kMemberMessages);
  EXPECT_LT(report.worker.bytes, 200 << 10) << "worker 0 hears who all are";
  EXPECT_LT(report.server.bytes, 16 << 10);
  // One message of each kind per member, whatever the number of peers. If many members wait, only one of them is reported.
  for (ControlKind kind : {ControlKind::join, ControlKind::leave}) EXPECT_EQ(messages(report, kind), kMembers);
  EXPECT_EQ(messages(report, ControlKind::gather), 1024);
  EXPECT_EQ(messages(report, ControlKind::waits), kMembers - 1);
  EXPECT_LT(messages(report, ControlKind::left), kMembers * kSecond / job::Rendezvous::kTellLeftEvery);
}

TEST(Joining, WorkersThatAllTalkToEachOtherAskForAllAddressesAtOnce) {
  const JoinReport report = join({.workers = 1024});
  EXPECT_EQ(messages(report, ControlKind::gather), 1024);
  EXPECT_LT(report.rendezvous.all().messages, 1024 * kMemberMessages);
  EXPECT_LT(report.worker.messages, kMemberMessages);
}

/// With four times the members the rendezvous handles four times the messages, and a member no more than before.
TEST(Joining, IsLinearForTheRendezvousAndConstantForAMember) {
  for (int servers : {0, 16}) {
    const JoinReport small = join({.workers = 128, .servers = servers}),
                     large = join({.workers = 512, .servers = 4 * servers});
    EXPECT_LT(large.rendezvous.all().messages, small.rendezvous.all().messages * 9 / 2);
    EXPECT_LE(large.worker.messages, small.worker.messages + 4);
    EXPECT_LE(large.server.messages, small.server.messages + 4);
  }
}

TEST(Joining, TakesNoLongerThanTheLastProcessNeedsToStart) {
  const JoinReport report = join({.workers = 256, .servers = 16, .starts_within = 500 * kMillisecond});
  EXPECT_LT(report.joined, 510 * kMillisecond);
  EXPECT_LT(report.end, 510 * kMillisecond + 2 * kSecond + 50 * kMillisecond);
}

}  // namespace
}  // namespace cohaul::sim
