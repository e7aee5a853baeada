// What links keep of a peer that is ahead, and what they send while no peer takes.

#include "cohaul/collective/links.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "cohaul/collective/test_ranks.h"

namespace cohaul::collective {
namespace {

class LinksOf : public testing::TestWithParam<Setting> {};
INSTANTIATE_TEST_SUITE_P(Three, LinksOf, testing::ValuesIn(settings(3, 3)), name_of);

/// Rank 1 sends far more than is kept while rank 0 waits for rank 2: it is stopped, and nothing is lost, nor out of order.
TEST_P(LinksOf, APeerThatIsAheadIsStopped) {
  constexpr int kFrames = 20'000;
  std::atomic<int> sent{0};
  Ranks all(GetParam());
  all.run([&](Rank& rank) {
    Links& links = *rank.links;
    const std::vector<std::byte> filler(1000);
    transport::Message m;
    m.kind = 99;
    m.body = filler;  // so that what the kernel keeps of TCP is few frames
    if (rank.rank == 1) {
      for (int i = 0; i < kFrames; ++i) {
        m.key = static_cast<std::uint64_t>(i);
        ASSERT_TRUE(links.send(0, m, "send").ok());
        ++sent;
      }
      ASSERT_TRUE(links.flush("send").ok());
    } else if (rank.rank == 2) {
      for (int before = -1; before != sent || sent == 0;) {  // until rank 1 goes no further
        before = sent;
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
      }
      EXPECT_LT(sent, kFrames);
      ASSERT_TRUE(links.send(0, m, "send").ok());
      ASSERT_TRUE(links.flush("send").ok());
    } else {
      ASSERT_TRUE(links.receive(2, "receive").ok());
      for (int i = 0; i < kFrames; ++i) {
        auto frame = links.receive(1, "receive");
        ASSERT_TRUE(frame.ok()) << frame.status().message();
        ASSERT_EQ(frame->key, static_cast<std::uint64_t>(i));
      }
    }
  });
}

/// What does not go waits here, in order, and goes when the other takes.
TEST_P(LinksOf, PostingNeverBlocks) {
  constexpr int kFrames = 20'000;  // more than the kernel takes of TCP
  std::atomic<bool> posted{false};
  Ranks all(GetParam());
  all.run([&](Rank& rank) {
    Links& links = *rank.links;
    if (rank.rank == 1) {
      for (int i = 0; i < kFrames; ++i) {
        const std::string body = std::to_string(i) + std::string(1000, 'x');  // of its own: it is copied
        transport::Message m;
        m.kind = 99;
        m.key = static_cast<std::uint64_t>(i);
        m.body = as_bytes(std::string_view(body));
        ASSERT_TRUE(links.post(0, m).ok());
      }
      posted = true;
      EXPECT_FALSE(links.try_flush());
      ASSERT_TRUE(links.flush("post").ok());
      EXPECT_TRUE(links.try_flush());
    } else if (rank.rank == 0) {
      while (!posted) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      for (int i = 0; i < kFrames; ++i) {
        auto frame = links.receive(1, "receive");
        ASSERT_TRUE(frame.ok()) << frame.status().message();
        ASSERT_EQ(frame->key, static_cast<std::uint64_t>(i));
        const std::string body = std::to_string(i) + std::string(1000, 'x');
        ASSERT_EQ(std::memcmp(frame->body.data(), body.data(), body.size()), 0);
      }
    }
  });
}

TEST_P(LinksOf, AFlushEndsAtItsDeadline) {
  Ranks all(GetParam());
  std::atomic<bool> told{false};
  all.run([&](Rank& rank) {
    if (rank.rank == 1) {
      transport::Message m;
      m.kind = 99;
      for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(rank.links->post(0, m).ok());
      const Status s = rank.links->flush("flush", steady_clock().now() + 100 * kMillisecond);
      told = true;
      // TCP: the kernel took all of these small ones.
      if (!s.ok()) {
        EXPECT_TRUE(s.message().starts_with("flush: no answer from worker 0 within 0.")) << s.message();
      } else {
        EXPECT_EQ(GetParam().form, transport::Form::tcp);
      }
    }
    while (!told) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
}

}  // namespace
}  // namespace cohaul::collective
