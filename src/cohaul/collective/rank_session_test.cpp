// A RankSession without I/O: what it says, to whom, and when; and which frames it refuses.

#include "cohaul/collective/rank_session.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace cohaul::collective {
namespace {

using update::Layout;

struct Said {
  int to;
  RankKind kind;
  std::int64_t clock;
  std::uint64_t key;
  std::vector<std::byte> body;
  ConstBytes payload;
};

struct Ear final : ToRanks {
  void send(int to, const transport::Message& m) override {
    said.push_back({to, static_cast<RankKind>(m.kind), m.clock, m.key, {m.body.begin(), m.body.end()}, m.payload});
  }
  std::vector<Said> said;
};

transport::Frame frame_of(const Said& s) {
  transport::Frame f;
  f.kind = static_cast<std::uint16_t>(s.kind);
  f.clock = s.clock, f.key = s.key, f.body = s.body, f.payload = s.payload;
  return f;
}

/// Sessions whose messages are kept until they are handed on.
struct Pair {
  Pair(const Layout& l, const RankSettings& settings) : layout(l) {
    for (int r = 0; r < 2; ++r) {
      parameters[r].resize(layout.bytes() / sizeof(double));
      gradient[r].resize(layout.bytes() / sizeof(double));
      sessions[r] = std::make_unique<RankSession>(layout, settings, r, 2, bytes(parameters[r]), ears[r]);
    }
  }
  static Bytes bytes(std::vector<double>& v) { return {reinterpret_cast<std::byte*>(v.data()), v.size() * 8}; }
  ConstBytes of_bucket(int r, std::size_t bucket) {
    const update::Bucket& at = layout.buckets()[bucket];
    return bytes(gradient[r]).subspan(at.offset, at.bytes);
  }
  void begin_and_push(int r, std::int64_t step) {
    ASSERT_TRUE(sessions[r]->begin({Step(step), update::slices_of(2, r, 2)}, {}).ok());
    for (std::size_t bucket = 0; bucket < layout.buckets().size(); ++bucket)
      ASSERT_TRUE(sessions[r]->push({.bucket = static_cast<std::int32_t>(bucket), .bytes = of_bucket(r, bucket)}).ok());
  }
  Status finish(int r) {
    const update::PartEnd end{1, 0};
    return sessions[r]->finish({&end, 1});
  }
  /// To the other, the first error of which is returned.
  Status hand_on(int r) {
    heard.push_back(std::move(ears[r].said));
    ears[r].said.clear();
    for (const Said& s : heard.back()) COHAUL_TRY(sessions[1 - r]->on_frame(r, frame_of(s)));
    return {};
  }
  const Layout& layout;
  std::vector<double> parameters[2], gradient[2];
  Ear ears[2];
  std::unique_ptr<RankSession> sessions[2];
  std::vector<std::vector<Said>> heard;  // frames point into it
};

Layout softmax() {
  return *Layout::of({{"weight", {10, 784}, DType::float32, true}, {"bias", {10}, DType::float32, true}});
}

/// The end rides on the last gradient: two frames a step and peer, three where the policy gathers facts.
TEST(RankSession, AModelOfOneBucketCostsAFrameOfGradientsAStep) {
  const Layout layout = softmax();
  ASSERT_EQ(layout.buckets().size(), 1u);
  for (bool facts : {false, true}) {
    for (bool shared : {false, true}) {
      Pair p(layout, {.policy = {.clip_norm = facts ? 1.0 : 0}, .shared_parameters = shared, .slices = 2});
      for (std::int64_t step = 0; step < 3; ++step) {
        for (int r = 0; r < 2; ++r) {
          p.begin_and_push(r, step);
          EXPECT_TRUE(p.ears[r].said.empty());
          ASSERT_TRUE(p.finish(r).ok());
          ASSERT_EQ(p.ears[r].said.size(), 1u);
          EXPECT_EQ(p.ears[r].said[0].kind, RankKind::last_gradient);
        }
        std::size_t frames = 2;
        for (int round = 0; p.sessions[0]->busy() || p.sessions[1]->busy(); ++round) {
          ASSERT_LT(round, 5);
          ASSERT_TRUE(p.hand_on(0).ok());
          ASSERT_TRUE(p.hand_on(1).ok());
          frames += p.ears[0].said.size() + p.ears[1].said.size();
        }
        std::size_t said = 0;
        for (const auto& h : p.heard) said += h.size();
        EXPECT_EQ(said, static_cast<std::size_t>(step + 1) * 2 * (facts ? 3 : 2));
      }
    }
  }
}

TEST(RankSession, RefusesFramesThatDoNotFit) {
  const Layout layout = softmax();
  const std::vector<double> big(layout.bytes());
  auto refused = [&](auto change) {
    Pair p(layout, {.slices = 2});
    p.begin_and_push(0, 0);
    EXPECT_TRUE(p.finish(0).ok());
    Said s = p.ears[0].said[0];
    change(s);
    p.begin_and_push(1, 0);
    const Status why = p.sessions[1]->on_frame(0, frame_of(s));
    EXPECT_EQ(why.code(), Code::corrupt) << why.message();
    EXPECT_EQ(p.finish(1).message(), why.message());
    EXPECT_FALSE(p.sessions[1]->busy());
  };
  refused([](Said& s) { s.kind = static_cast<RankKind>(77); });
  refused([](Said& s) { s.kind = RankKind::gradient; });  // of a kind without the end that it carries
  refused([](Said& s) { s.clock = 2; });                  // two steps ahead
  refused([](Said& s) { s.clock = -1; });
  refused([](Said& s) { s.key = 1; });
  refused([](Said& s) { s.payload = s.payload.first(s.payload.size() - 4); });
  refused([](Said& s) { s.payload = {}; });
  refused([](Said& s) { s.body[0] = std::byte{1}; });  // a part that it has not
  refused([](Said& s) { s.body.pop_back(); });
  refused([](Said& s) { s.kind = RankKind::end, s.payload = {}; });
  refused([](Said& s) { s.kind = RankKind::facts; });
  refused([](Said& s) { s.kind = RankKind::updated; });
  refused([](Said& s) { s.kind = RankKind::have; });
  refused([](Said& s) { s.kind = RankKind::initial; });
  refused([](Said& s) { s.kind = RankKind::entering; });
  refused([](Said& s) { s.kind = RankKind::failed; });
}

TEST(RankSession, RefusesAStepTwice) {
  const Layout layout = softmax();
  Pair p(layout, {.slices = 2});
  p.begin_and_push(0, 0);
  ASSERT_TRUE(p.finish(0).ok());
  const Said s = p.ears[0].said[0];
  ASSERT_TRUE(p.sessions[1]->on_frame(0, frame_of(s)).ok()) << "it may be ahead";
  EXPECT_EQ(p.sessions[1]->on_frame(0, frame_of(s)).code(), Code::corrupt);
}

TEST(RankSession, RefusesAGradientTwice) {
  const Layout layout = *Layout::of({{"a", {50'000}, DType::float32, true}, {"b", {50'000}, DType::float32, true}});
  Pair p(layout, {.slices = 2});
  p.begin_and_push(0, 0);
  ASSERT_EQ(p.ears[0].said.size(), 1u);
  const Said s = p.ears[0].said[0];
  ASSERT_EQ(s.kind, RankKind::gradient);
  ASSERT_TRUE(p.sessions[1]->on_frame(0, frame_of(s)).ok());
  EXPECT_EQ(p.sessions[1]->on_frame(0, frame_of(s)).code(), Code::corrupt);
}

/// A rank whose ends came with its last gradient is done with the step as soon as the others are; finish() gives the outcome.
TEST(RankSession, EndsAStepWithItsLastGradient) {
  const Layout layout = softmax();
  for (const bool finishes_late : {false, true}) {
    Pair p(layout, {.slices = 2});
    for (std::int64_t step = 0; step < 3; ++step) {
      const update::PartEnd end{0.5, 0};
      ASSERT_TRUE(p.sessions[0]->begin({Step(step), update::slices_of(2, 0, 2)}, {}).ok());
      ASSERT_TRUE(p.sessions[0]->push({.bucket = 0, .bytes = p.of_bucket(0, 0), .ends = {&end, 1}}).ok());
      ASSERT_EQ(p.ears[0].said.size(), 1u);
      EXPECT_EQ(p.ears[0].said[0].kind, RankKind::last_gradient);
      EXPECT_TRUE(p.sessions[0]->busy());
      p.begin_and_push(1, step);
      ASSERT_TRUE(p.finish(1).ok());
      if (!finishes_late) {
        EXPECT_TRUE(p.sessions[0]->finish({&end, 1}).ok());
      }
      for (int round = 0; p.sessions[0]->busy() || p.sessions[1]->busy(); ++round) {
        ASSERT_LT(round, 5);
        ASSERT_TRUE(p.hand_on(0).ok());
        ASSERT_TRUE(p.hand_on(1).ok());
      }
      if (finishes_late) {
        EXPECT_TRUE(p.sessions[0]->finish({&end, 1}).ok());
      }
      EXPECT_FALSE(p.sessions[0]->busy());
      EXPECT_EQ(p.sessions[0]->outcome().loss, 1.5);
      EXPECT_EQ(p.sessions[1]->outcome().loss, 1.5);
    }
  }
}

TEST(RankSession, AStepThatEndedWithItsLastGradientIsToBeFinished) {
  const Layout layout = softmax();
  const update::PartEnd end{1, 0};
  auto after = [&](auto call) {
    Pair p(layout, {.slices = 2});
    EXPECT_TRUE(p.sessions[0]->begin({Step(0), update::slices_of(2, 0, 2)}, {}).ok());
    EXPECT_TRUE(p.sessions[0]->push({.bucket = 0, .bytes = p.of_bucket(0, 0), .ends = {&end, 1}}).ok());
    p.begin_and_push(1, 0);
    EXPECT_TRUE(p.finish(1).ok());
    EXPECT_TRUE(p.hand_on(1).ok());
    EXPECT_TRUE(p.hand_on(0).ok());
    EXPECT_TRUE(p.hand_on(1).ok());
    EXPECT_FALSE(p.sessions[0]->busy()) << "all is done";
    return call(*p.sessions[0]);
  };
  auto begins = [](RankSession& s) { return s.begin({Step(1), update::slices_of(2, 0, 2)}, {}); };
  EXPECT_EQ(after(begins).code(), Code::invalid);
  EXPECT_EQ(after([](RankSession& s) { return s.write(); }).code(), Code::invalid);
  const Status gone = after([](RankSession& s) { return s.abandon(); });
  EXPECT_EQ(gone.code(), Code::invalid);
  EXPECT_NE(gone.message().find("gave up step 1, of which gradients had gone to others"), std::string::npos);
}

TEST(RankSession, SendsNothingOfAShareOfWhichAllIsAbsent) {
  const Layout layout = softmax();
  Pair p(layout, {.slices = 2});
  for (int r = 0; r < 2; ++r) {
    ASSERT_TRUE(p.sessions[r]->begin({Step(0), update::slices_of(2, r, 2)}, {}).ok());
    const std::byte both{3};
    ASSERT_TRUE(p.sessions[r]->push({.bucket = 0, .absent = {&both, 1}}).ok());
    ASSERT_TRUE(p.finish(r).ok());
    ASSERT_EQ(p.ears[r].said.size(), 1u);
    EXPECT_TRUE(p.ears[r].said[0].payload.empty());
  }
  ASSERT_TRUE(p.hand_on(0).ok());
  ASSERT_EQ(p.ears[1].said.size(), 2u);
  EXPECT_EQ(p.ears[1].said[1].kind, RankKind::unchanged);
  ASSERT_TRUE(p.hand_on(1).ok());
  ASSERT_EQ(p.ears[0].said.size(), 1u);
  EXPECT_EQ(p.ears[0].said[0].kind, RankKind::unchanged);
  ASSERT_TRUE(p.hand_on(0).ok());
  EXPECT_FALSE(p.sessions[0]->busy() || p.sessions[1]->busy());
}

/// A payload has a place only while parameters may be written.
TEST(RankSession, GivesAPlaceOnlyWhereItMayBeWritten) {
  const Layout layout = softmax();
  Pair p(layout, {.slices = 2});
  const ReducePlan plan(layout, 1, 2, 2);
  const auto updated = static_cast<std::uint16_t>(RankKind::updated),
             initial = static_cast<std::uint16_t>(RankKind::initial);
  const std::uint64_t bytes = plan.portion(0, 0).bytes;
  EXPECT_TRUE(p.sessions[1]->place(0, initial, 0, 0, layout.bytes()).empty());
  EXPECT_TRUE(p.sessions[1]->place(0, updated, 0, 0, bytes).empty());
  p.begin_and_push(1, 0);
  EXPECT_TRUE(p.sessions[1]->place(0, updated, 0, 0, bytes).empty()) << "within backward";
  ASSERT_TRUE(p.finish(1).ok());
  EXPECT_EQ(p.sessions[1]->place(0, updated, 0, 0, bytes).size(), bytes);
  EXPECT_TRUE(p.sessions[1]->place(0, updated, 1, 0, bytes).empty());
  EXPECT_TRUE(p.sessions[1]->place(0, updated, 0, 0, bytes + 1).empty());
  EXPECT_TRUE(p.sessions[1]->place(0, updated, 0, 9, bytes).empty());
  EXPECT_TRUE(p.sessions[1]->place(0, initial, 0, 0, layout.bytes()).empty());
}

/// Two hosts of two ranks, whose messages are kept until they are handed on.
struct TwoHosts {
  explicit TwoHosts(const Layout& l) : layout(l) {
    for (int r = 0; r < 4; ++r) {
      parameters[r].resize(layout.bytes() / sizeof(double));
      gradient[r].resize(layout.bytes() / sizeof(double));
      sessions[r] = std::make_unique<RankSession>(layout, settings, r, 4, Pair::bytes(parameters[r]), ears[r]);
    }
  }
  void end_step(int r) {
    const update::PartEnd end{1, 0};
    const update::Bucket& bucket = layout.buckets()[0];
    ASSERT_TRUE(sessions[r]->begin({Step(0), update::slices_of(4, r, 4)}, {}).ok());
    ASSERT_TRUE(
        sessions[r]->push({.bucket = 0, .bytes = Pair::bytes(gradient[r]).subspan(bucket.offset, bucket.bytes)}).ok());
    ASSERT_TRUE(sessions[r]->finish({&end, 1}).ok());
  }
  /// What `from` has said to `to` so far, in its order.
  std::vector<Said> said(int from, int to) const {
    std::vector<Said> out;
    for (const Said& s : ears[from].said)
      if (s.to == to) out.push_back(s);
    return out;
  }
  const Layout& layout;
  const RankSettings settings{.shared_parameters = true, .slices = 4, .hosts = {0, 0, 1, 1}};
  std::vector<double> parameters[4], gradient[4];
  Ear ears[4];
  std::unique_ptr<RankSession> sessions[4];
};

/// A rank hands its parts to its neighbour, and the end with the last of them; other hosts get the sum as soon as both parts are there.
TEST(RankSession, ASumGoesWhenAllOfItsPartsAreHere) {
  const Layout layout = softmax();
  TwoHosts hosts(layout);
  const ReducePlan plan(layout, 0, 4, 4, hosts.settings.hosts);
  const int far = plan.sender(0, 2, plan.term_of(2, 0)) == 0 ? 2 : 3;  // whose portion rank 0 sums
  hosts.end_step(0);
  for (int to : {2, 3}) {
    ASSERT_EQ(hosts.said(0, to).size(), 1u);
    EXPECT_EQ(hosts.said(0, to)[0].kind, RankKind::end);
  }
  const std::vector<Said> near = hosts.said(0, 1);
  ASSERT_EQ(near.size(), 2u);
  EXPECT_EQ(near[0].kind, RankKind::gradient);
  EXPECT_EQ(near[1].kind, RankKind::last_gradient);
  hosts.end_step(1);
  for (const Said& s : hosts.said(1, 0)) ASSERT_TRUE(hosts.sessions[0]->on_frame(1, frame_of(s)).ok());
  ASSERT_EQ(hosts.said(0, far).size(), 2u);
  EXPECT_EQ(hosts.said(0, far)[1].kind, RankKind::gradient);
  EXPECT_EQ(hosts.said(0, far)[1].payload.size(), plan.portion(0, far).bytes);
  EXPECT_EQ(hosts.said(0, 5 - far).size(), 1u);
}

/// What a rank has kept for a sum is gone with the step that it gives up.
TEST(RankSession, AGradientThatIsGivenUpIsInNoSum) {
  std::vector<update::ParameterSpec> specs;  // types alternate, so each is a bucket of its own, with one owner
  for (int p = 0; p < 16; ++p)
    specs.push_back({"p" + std::to_string(p), {3}, p % 2 == 0 ? DType::float32 : DType::float64, true});
  const Layout layout = *Layout::of(std::move(specs));
  TwoHosts hosts(layout);
  const ReducePlan plan(layout, 0, 4, 4, hosts.settings.hosts);
  ASSERT_FALSE(plan.sums.empty());
  const HostSum sum = plan.sums[0];
  const update::Bucket& bucket = layout.buckets()[static_cast<std::size_t>(sum.bucket)];
  const auto begin_and_push = [&](int r) {
    ASSERT_TRUE(hosts.sessions[r]->begin({Step(0), update::slices_of(4, r, 4)}, {}).ok());
    const ConstBytes bytes = Pair::bytes(hosts.gradient[r]).subspan(bucket.offset, bucket.bytes);
    ASSERT_TRUE(hosts.sessions[r]->push({.bucket = sum.bucket, .bytes = bytes}).ok());
  };
  begin_and_push(0);
  ASSERT_TRUE(hosts.ears[0].said.empty());
  ASSERT_TRUE(hosts.sessions[0]->abandon().ok());
  begin_and_push(1);
  ASSERT_EQ(hosts.said(1, 0).size(), 1u);
  ASSERT_TRUE(hosts.sessions[0]->on_frame(1, frame_of(hosts.said(1, 0)[0])).ok());
  EXPECT_TRUE(hosts.ears[0].said.empty());
  begin_and_push(0);
  EXPECT_EQ(hosts.said(0, sum.owner).size(), 1u);
}

TEST(RankSession, RefusesSumsThatDoNotFit) {
  const Layout layout = softmax();
  const auto refused = [&](int from, int to, auto change) {
    TwoHosts hosts(layout);
    for (int r = 0; r < 4; ++r) hosts.end_step(r);
    for (const auto& [a, b] : {std::pair{0, 1}, {1, 0}, {2, 3}, {3, 2}})
      for (const Said& s : hosts.said(a, b)) ASSERT_TRUE(hosts.sessions[b]->on_frame(a, frame_of(s)).ok());
    const std::vector<Said> said = hosts.said(0, to);
    ASSERT_EQ(said.back().kind, RankKind::gradient);
    ASSERT_TRUE(hosts.sessions[to]->on_frame(0, frame_of(said.front())).ok());
    Said sum = said.back();
    change(sum);
    if (from == 0 && sum.kind == RankKind::gradient && sum.payload.size() == said.back().payload.size() &&
        sum.key == said.back().key) {
      ASSERT_TRUE(hosts.sessions[to]->on_frame(0, frame_of(sum)).ok()) << "the sum itself";
    }
    EXPECT_EQ(hosts.sessions[to]->on_frame(from, frame_of(sum)).code(), Code::corrupt);
  };
  const ReducePlan plan(layout, 0, 4, 4, {{0, 0, 1, 1}});
  const int far = plan.sender(0, 2, plan.term_of(2, 0)) == 0 ? 2 : 3;
  refused(0, far, [](Said&) {});  // twice
  refused(1, far, [](Said&) {});  // of the other rank of that host
  refused(0, far, [](Said& s) { s.kind = RankKind::last_gradient; });
  refused(0, far, [](Said& s) { s.payload = s.payload.first(s.payload.size() - 4); });
  refused(0, far, [&](Said& s) {
    s.key = portion_key(0, 5 - far, far);
  });  // its neighbour's portion, which rank 0 does not give it
  refused(0, far, [&](Said& s) { s.key = portion_key(0, 9, far); });
}

}  // namespace
}  // namespace cohaul::collective
