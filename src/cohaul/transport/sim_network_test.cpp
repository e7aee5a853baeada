// What only the simulated network can do; what every network must is in conformance_test.cpp.

#include "cohaul/transport/sim_network.h"

#include <gtest/gtest.h>

#include <vector>

#include "cohaul/transport/test_pairs.h"

namespace cohaul::transport {
namespace {

std::vector<std::int64_t> clocks_received(Channel& channel) {
  std::vector<std::int64_t> clocks;
  for (auto f = channel.receive(); f.ok() && *f; f = channel.receive()) clocks.push_back((**f).clock);
  return clocks;
}

std::uint64_t trace_of(std::uint64_t seed, std::string_view body) {
  SimNetwork network({.seed = seed});
  auto [a, b] = network.connect(test_identity(0), test_identity(1));
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(a->send({.clock = i, .body = as_bytes(body)}).ok());
    EXPECT_TRUE(b->send({.clock = i}).ok());
  }
  while (network.step()) {
    clocks_received(*a);
    clocks_received(*b);
  }
  return network.trace();
}

TEST(SimNetwork, TheTraceTellsRunsApart) {
  EXPECT_EQ(trace_of(1, "x"), trace_of(1, "x"));
  EXPECT_NE(trace_of(1, "x"), trace_of(2, "x"));
  EXPECT_NE(trace_of(1, "x"), trace_of(1, "y"));
}

TEST(SimNetwork, WhatIsHeldComesAfterwardsAndInOrder) {
  SimNetwork network({.seed = 1});
  auto [a, b] = network.connect(test_identity(0), test_identity(1));
  ASSERT_TRUE(a->send({.clock = 0}).ok());
  network.hold(*a, kSecond);
  ASSERT_TRUE(a->send({.clock = 1}).ok());
  ASSERT_TRUE(a->send({.clock = 2}).ok());
  ASSERT_TRUE(b->send({.clock = 7}).ok());
  while (network.step(kSecond - 1)) {
  }
  network.advance_to(kSecond - 1);
  EXPECT_EQ(clocks_received(*b), std::vector<std::int64_t>{0}) << "what was on the way before";
  EXPECT_EQ(clocks_received(*a), std::vector<std::int64_t>{7}) << "the other way is open";
  while (network.step()) {
  }
  EXPECT_EQ(clocks_received(*b), (std::vector<std::int64_t>{1, 2}));
}

TEST(SimNetwork, AHeldPeerIsFoundGoneAfterwards) {
  SimNetwork network({.seed = 1});
  auto [a, b] = network.connect(test_identity(0), test_identity(1));
  network.hold(*a, kSecond);
  a.reset();
  network.advance_to(kSecond - 1);
  EXPECT_TRUE(b->receive().ok());
  network.advance_to(kSecond + kMillisecond);
  EXPECT_EQ(b->receive().status().code(), Code::peer_lost);
}

TEST(SimNetwork, ACutLosesWhatIsOnTheWay) {
  SimNetwork network({.seed = 1});
  auto [a, b] = network.connect(test_identity(0), test_identity(1));
  ASSERT_TRUE(a->send({.clock = 1}).ok());
  network.cut(*b);
  while (network.step()) {
  }
  EXPECT_EQ(b->receive().status().code(), Code::peer_lost);
  EXPECT_EQ(a->receive().status().code(), Code::peer_lost);
}

TEST(SimNetwork, LosesConnectionsAsOftenAsItIsTold) {
  constexpr int kConnections = 400;
  int lost = 0;
  SimNetwork network({.seed = 1, .loss = 0.25});
  for (int i = 0; i < kConnections; ++i) {
    auto [a, b] = network.connect(test_identity(0), test_identity(1));
    EXPECT_TRUE(a->send({.clock = 1}).ok()) << "nobody knows yet";
    while (network.step()) {
    }
    const bool came = clocks_received(*b) == std::vector<std::int64_t>{1};
    EXPECT_EQ(a->receive().ok(), came);
    EXPECT_EQ(b->receive().ok(), came);
    lost += !came;
  }
  EXPECT_NEAR(lost, kConnections / 4, 40);
}

TEST(SimNetwork, OnOneHostTheReceiverReadsTheSendersMemory) {
  SimNetwork network({.seed = 1, .one_host = true});
  auto [a, b] = network.connect(test_identity(0), test_identity(1));
  auto arena = *Arena::create("lent", 64);
  ASSERT_TRUE(a->lend(arena).ok());
  ASSERT_TRUE(a->send({.payload = arena.bytes()}).ok());
  arena.bytes()[0] = std::byte{9};
  while (network.step()) {
  }
  auto f = b->receive();
  ASSERT_TRUE(f.ok() && *f);
  EXPECT_EQ((**f).payload.data(), arena.bytes().data());
  EXPECT_EQ((**f).payload[0], std::byte{9}) << "written after it was sent";
}

}  // namespace
}  // namespace cohaul::transport
