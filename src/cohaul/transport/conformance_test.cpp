// One suite for every form of a channel.

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "cohaul/base/random.h"
#include "cohaul/transport/test_pairs.h"

namespace cohaul::transport {
namespace {

constexpr Duration kLong = 20 * kSecond;

std::vector<std::byte> random_bytes(std::size_t n, std::uint64_t seed) {
  std::vector<std::byte> out(n);
  Random random(seed);
  for (std::byte& b : out) b = static_cast<std::byte>(random());
  return out;
}

bool equal(ConstBytes a, ConstBytes b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// Steps `other` too, as its own thread would: what it has queued goes out.
std::optional<Frame> receive(End& at, End& other) {
  Time end = at.poller->clock().now() + kLong;
  for (;;) {
    (void)other.channel->flush();
    auto got = at.channel->receive();
    EXPECT_TRUE(got.ok()) << got.status().message();
    if (!got.ok()) return std::nullopt;
    if (*got) return std::move(*got);
    Time now = at.poller->clock().now();
    if (now >= end) return std::nullopt;
    EXPECT_TRUE(at.poller->wait(now + kMillisecond).ok());
  }
}

Status receive_error(End& at) {
  Time end = at.poller->clock().now() + kLong;
  for (;;) {
    auto got = at.channel->receive();
    if (!got.ok()) return got.status();
    if (at.poller->clock().now() >= end) return {};
    EXPECT_TRUE(at.poller->wait(end).ok());
  }
}

class Conformance : public testing::TestWithParam<std::string> {
 protected:
  Conformance() : pair_(make_pair_of(GetParam())), a_(pair_->server), b_(pair_->client) {}
  static bool has_threads() { return !GetParam().starts_with("simulated"); }
  std::unique_ptr<Pair> pair_;
  End& a_;
  End& b_;
};

TEST_P(Conformance, KnowsItsPeer) {
  EXPECT_EQ(describe(a_.channel->peer()), "worker 1");
  EXPECT_EQ(describe(b_.channel->peer()), "worker 0");
  EXPECT_EQ(a_.channel->peer().incarnation, Incarnation(101));
  EXPECT_EQ(a_.channel->peer().purpose, "test");
}

TEST_P(Conformance, FramesComeInOrderBothWays) {
  constexpr int kFrames = 3000;
  for (int i = 0; i < kFrames; ++i) {
    ASSERT_TRUE(b_.channel->send({.kind = 1, .clock = i, .key = 9, .body = as_bytes(std::string_view("b"))}).ok());
    ASSERT_TRUE(a_.channel->send({.kind = 2, .clock = -i}).ok());
  }
  for (int i = 0; i < kFrames; ++i) {
    auto f = receive(a_, b_);
    ASSERT_TRUE(f);
    ASSERT_EQ(f->clock, i);
    EXPECT_EQ(f->kind, 1);
    EXPECT_EQ(f->key, 9u);
    EXPECT_EQ(f->body.size(), 1u);
    EXPECT_TRUE(f->payload.empty());
    auto g = receive(b_, a_);
    ASSERT_TRUE(g);
    ASSERT_EQ(g->clock, -i);
    EXPECT_TRUE(g->body.empty());
  }
}

TEST_P(Conformance, BodiesAndPayloadsOfEverySize) {
  for (std::size_t body : {std::size_t{0}, std::size_t{1}, std::size_t{63}, kBodyBytesMax}) {
    for (std::size_t payload : {0, 1, 63, 64, 4096, 4097, 70000, 1 << 20, 10'000'001}) {
      auto b = random_bytes(body, body), p = random_bytes(payload, payload + 1);
      ASSERT_TRUE(b_.channel->send({.kind = 3, .body = b, .payload = p}).ok());
      auto f = receive(a_, b_);
      ASSERT_TRUE(f) << body << " " << payload;
      EXPECT_TRUE(equal(f->body, b)) << body << " " << payload;
      EXPECT_TRUE(equal(f->payload, p)) << body << " " << payload;
      EXPECT_FALSE(f->by_address);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(f->payload.data()) % 64, 0u);
    }
  }
}

TEST_P(Conformance, TooLongABodyIsTheCallersMistake) {
  std::vector<std::byte> b(kBodyBytesMax + 1);
  EXPECT_EQ(b_.channel->send({.body = b}).code(), Code::invalid);
  EXPECT_TRUE(b_.channel->send({.kind = 1}).ok());
}

TEST_P(Conformance, LentPayloadsTravelAsAddressesWhereMemoryIsShared) {
  auto arena = *Arena::create("lent", std::size_t{64} << 30);
  ASSERT_TRUE(b_.channel->lend(arena).ok());
  ASSERT_TRUE(b_.channel->lend(arena).ok());  // again: nothing new
  Bytes span = arena.bytes().subspan((std::size_t{40} << 30) + 64, 10 << 20);
  auto content = random_bytes(span.size(), 5);
  std::memcpy(span.data(), content.data(), span.size());
  auto keep = std::make_shared<int>(1);
  std::weak_ptr<int> kept = keep;
  ASSERT_TRUE(b_.channel->send({.kind = 1, .payload = span, .keep = std::move(keep)}).ok());
  auto f = receive(a_, b_);
  ASSERT_TRUE(f);
  EXPECT_TRUE(equal(f->payload, content));
  EXPECT_EQ(f->by_address, a_.channel->shares_memory());
  if (b_.channel->shares_memory()) {
    EXPECT_TRUE(b_.channel->flush().ok());
    EXPECT_FALSE(kept.expired()) << "the peer still reads it";
    if (!has_threads()) f->release();
  }
  if (b_.channel->shares_memory() && has_threads()) {
    // Given back while the sender sleeps: that must wake it.
    std::thread receiver([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      f->release();
    });
    Time start = b_.poller->clock().now();
    ASSERT_TRUE(b_.poller->wait(start + kLong).ok());
    EXPECT_LT(b_.poller->clock().now() - start, kLong / 2);
    receiver.join();
  }
  EXPECT_EQ(b_.channel->payload_bytes_sent(), b_.channel->shares_memory() ? 0 : span.size());
  EXPECT_TRUE(kept.expired());
}

TEST_P(Conformance, FramesAreGivenBackInAnyOrder) {
  Random random(3);
  std::vector<Frame> held;
  std::vector<std::uint64_t> expected;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    auto p = random_bytes(random.below(300), i);
    ASSERT_TRUE(b_.channel->send({.clock = static_cast<std::int64_t>(i), .payload = p}).ok()) << i;
    auto f = receive(a_, b_);
    ASSERT_TRUE(f);
    held.push_back(std::move(*f));
    if (held.size() < 500) continue;
    std::swap(held[random.below(held.size())], held.back());
    Frame& last = held.back();
    ASSERT_TRUE(equal(last.payload, random_bytes(last.payload.size(), static_cast<std::uint64_t>(last.clock))))
        << last.clock;
    held.pop_back();
    if (i % 700 == 699) held.clear();
  }
}

TEST_P(Conformance, AFullQueueIsUnavailableAndThenNot) {
  auto payload = random_bytes(100'000, 1);
  int sent = 0;
  Status s;
  while (sent < 200'000 &&
         (s = b_.channel->send({.clock = sent, .payload = sent % 16 == 0 ? payload : ConstBytes()})).ok())
    ++sent;
  EXPECT_EQ(s.code(), Code::unavailable);
  EXPECT_GE(sent, static_cast<int>(kQueueFramesMax));
  for (int i = 0; i < sent; ++i) {
    auto f = receive(a_, b_);
    ASSERT_TRUE(f);
    ASSERT_EQ(f->clock, i);
  }
  EXPECT_TRUE(b_.channel->send({.clock = sent}).ok());
  EXPECT_EQ(receive(a_, b_)->clock, sent);
}

TEST_P(Conformance, FramesFirstThenThePeerIsLost) {
  for (int i = 0; i < 10; ++i)
    ASSERT_TRUE(b_.channel->send({.clock = i, .body = as_bytes(std::string_view("last words"))}).ok());
  b_.close();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(a_.poller->wait(a_.poller->clock().now() + kLong).ok());
    auto f = a_.channel->receive();
    ASSERT_TRUE(f.ok()) << f.status().message();
    if (!*f) {
      --i;
      continue;
    }
    EXPECT_EQ((**f).clock, i);
  }
  Status s = receive_error(a_);
  EXPECT_EQ(s.code(), Code::peer_lost);
  EXPECT_NE(s.message().find("worker 1"), std::string::npos) << s.message();
  EXPECT_EQ(a_.channel->receive().status().code(), Code::peer_lost) << "sticky";
  EXPECT_EQ(a_.channel->send({}).code(), Code::peer_lost);
}

TEST_P(Conformance, WhatWasWrittenIsFlushedAlsoWhereThePeerHasGone) {
  ASSERT_TRUE(b_.channel->send({.kind = 1}).ok());
  ASSERT_TRUE(a_.channel->send({.kind = 2}).ok());
  ASSERT_TRUE(receive(a_, b_));
  ASSERT_TRUE(receive(b_, a_));
  b_.close();
  EXPECT_EQ(receive_error(a_).code(), Code::peer_lost);
  auto flushed = a_.channel->flush();
  ASSERT_TRUE(flushed.ok()) << flushed.status().message();
  EXPECT_TRUE(*flushed);
}

TEST_P(Conformance, AFrameOutlivesItsChannel) {
  auto p = random_bytes(100'000, 2);
  ASSERT_TRUE(b_.channel->send({.payload = p}).ok());
  auto f = receive(a_, b_);
  ASSERT_TRUE(f);
  a_.close();
  EXPECT_TRUE(equal(f->payload, p));
}

/// As far as bytes travel; the frame is the same either way.
TEST_P(Conformance, APayloadLandsInThePlaceThatIsGivenForIt) {
  std::vector<std::byte> place(100'000);
  int asked = 0;
  a_.channel->set_place([&](std::uint16_t kind, std::int64_t clock, std::uint64_t key, std::uint64_t length) -> Bytes {
    ++asked;
    EXPECT_TRUE(clock == 5 && key == 6);
    return kind == 4 ? Bytes(place).first(length) : Bytes();
  });
  for (std::size_t length : {std::size_t{1}, std::size_t{4097}, place.size()}) {
    for (std::uint16_t kind : {4, 3}) {  // 3: no place
      auto payload = random_bytes(length, length);
      ASSERT_TRUE(b_.channel->send({.kind = kind, .clock = 5, .key = 6, .payload = payload}).ok());
      auto f = receive(a_, b_);
      ASSERT_TRUE(f);
      EXPECT_TRUE(equal(f->payload, payload));
      EXPECT_TRUE(kind == 4 || f->payload.data() != place.data());
      if (GetParam() == "tcp" || GetParam() == "tls" || GetParam() == "certificates") {
        EXPECT_EQ(f->payload.data() == place.data(), kind == 4);
      }
    }
  }
  if (GetParam() == "tcp" || GetParam() == "tls" || GetParam() == "certificates") {
    EXPECT_EQ(asked, 6);
  }
}

TEST_P(Conformance, ALossIsToldOnceAndThenTheWaitSleeps) {
  b_.close();
  for (;;) {
    auto f = a_.channel->receive();
    if (!f.ok()) break;
    ASSERT_TRUE(a_.poller->wait(a_.poller->clock().now() + kLong).ok());
  }
  const Time start = a_.poller->clock().now(), deadline = start + 30 * kMillisecond;
  int wakes = 0;
  while (a_.poller->clock().now() < deadline && ++wakes < 1000) ASSERT_TRUE(a_.poller->wait(deadline).ok());
  EXPECT_LT(wakes, 1000) << "it spins";
}

TEST_P(Conformance, WakeEndsTheWait) {
  a_.poller->wake();
  ASSERT_TRUE(a_.poller->wait(kForever).ok());
  if (!has_threads()) return;
  std::thread other([&] { a_.poller->wake(); });
  EXPECT_TRUE(a_.poller->wait(a_.poller->clock().now() + kLong).ok());
  other.join();
}

TEST_P(Conformance, WaitEndsAtItsDeadline) {
  Time deadline = a_.poller->clock().now() + 20 * kMillisecond;
  while (a_.poller->clock().now() < deadline) ASSERT_TRUE(a_.poller->wait(deadline).ok());
  EXPECT_LT(a_.poller->clock().now(), deadline + 10 * kSecond);
}

INSTANTIATE_TEST_SUITE_P(Forms, Conformance,
                         testing::Values("arena", "tcp", "tls", "certificates", "simulated", "simulated_host"),
                         [](const auto& i) { return i.param; });

}  // namespace
}  // namespace cohaul::transport
