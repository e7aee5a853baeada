// Tests of sessions and servers in one thread, with all messages between them.

#include "cohaul/ps/server.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "cohaul/ps/disk.h"
#include "cohaul/ps/session.h"

namespace cohaul::ps {
namespace {

using Kinds = Consistency::Kind;

struct Parcel {
  std::int32_t worker, server;
  bool to_server;
  transport::Message message;
  std::vector<std::byte> body;
};

/// Records what a server writes.
struct NotedDisk final : Disk {
  void save(const std::string& folder, const std::string& name, const std::string& key, const update::Layout&,
            std::span<const update::StatePiece> pieces) override {
    saved.push_back(folder + " " + name + " " + key + " " + std::to_string(pieces.size()));
  }
  Status look(const std::string& folder, const std::string& seen_mark) override {
    return seen_mark == mark ? Status() : invalid(folder + ": is another one");
  }
  Status restore(const std::string&, const update::Layout&, std::span<const update::StatePiece>) override {
    return unsupported("nothing is saved");
  }
  std::string mark = "7 of this job";
  std::vector<std::string> saved;
};

/// Workers and servers. Messages are delivered one after the other, in the order in which they were sent.
class Town {
 public:
  Town(const Init& what, const update::Layout& layout) : layout_(layout) {
    Init init = what;
    init.layout_hash = layout.hash();
    init.optimizer.groups[0].lr = 0.5;
    for (std::int32_t k = 0; k < init.servers; ++k) servers_.push_back(std::make_unique<Shop>(*this, k));
    for (std::int32_t w = 0; w < init.workers; ++w) {
      workers_.push_back(std::make_unique<Customer>(*this, init, w));
      for (auto& s : servers_) s->server.connected(WorkerRank(w), Incarnation(1));
    }
    auto* first = reinterpret_cast<float*>(workers_[0]->parameters.data());
    std::fill(first, first + layout.bytes() / sizeof(float), 1.0f);
    for (auto& w : workers_) w->session.start();
    deliver();
  }

  NotedDisk& disk(std::int32_t k) { return servers_[k]->disk; }
  Session& session(std::int32_t w) { return workers_[w]->session; }
  Server& server(std::int32_t k) { return servers_[k]->server; }
  Bytes parameters(std::int32_t w) { return workers_[w]->parameters; }
  float first_value(std::int32_t w, std::int32_t parameter) {
    return *reinterpret_cast<float*>(workers_[w]->parameters.data() + layout_.offset(parameter));
  }

  /// Does a worker's whole step with gradients of one value; parameters from `absent_from` on are absent.
  void push(std::int32_t w, std::int64_t step, update::SliceRange slices, float value, std::int32_t absent_from = 99) {
    Customer& c = *workers_[w];
    ASSERT_TRUE(c.session.begin({Step(step), slices}, {}).ok());
    auto* g = reinterpret_cast<float*>(c.gradients.data());
    std::fill(g, g + layout_.bytes() / sizeof(float), value);
    const auto parts = update::subtrees_of(slices);
    for (std::size_t k = 0; k < parts.size(); ++k) {
      for (std::size_t r = 0; r < layout_.buckets().size(); ++r) {
        const update::Bucket& bucket = layout_.buckets()[r];
        std::vector<std::byte> absent;
        for (std::int32_t p = bucket.parameter_first; p < bucket.parameter_last; ++p) {
          if (p < absent_from) continue;
          update::set_absent(absent, static_cast<std::size_t>(p - bucket.parameter_first),
                             static_cast<std::size_t>(bucket.parameter_last - bucket.parameter_first));
        }
        ASSERT_TRUE(c.session
                        .push({static_cast<std::int32_t>(k), static_cast<std::int32_t>(r),
                               ConstBytes(c.gradients).subspan(bucket.offset, bucket.bytes), absent, 0})
                        .ok());
      }
    }
    ASSERT_TRUE(c.session.finish(std::vector<update::PartEnd>(parts.size())).ok());
  }

  /// Two workers push half of a step each, and get the answers.
  void step(std::int64_t number) {
    push(0, number, {0, 1, 2}, 0.5f);
    push(1, number, {1, 2, 2}, 0.5f);
    deliver();
  }

  /// Delivers messages until there are none; each is delivered `copies` times.
  void deliver(int copies = 1) {
    while (!parcels_.empty()) {
      Parcel p = std::move(parcels_.front());
      parcels_.pop_front();
      const bool repeats = p.to_server && p.message.kind != static_cast<std::uint16_t>(Kind::pull);
      for (int i = 0; i < (repeats ? copies : 1); ++i) ASSERT_TRUE(hand_over(p).ok()) << hand_over(p).message();
    }
  }
  Status hand_over(const Parcel& p) {
    transport::Frame frame;
    frame.kind = p.message.kind, frame.clock = p.message.clock, frame.key = p.message.key;
    frame.body = p.body, frame.payload = p.message.payload;
    if (p.to_server) return servers_[p.server]->server.on_frame(WorkerRank(p.worker), std::move(frame), 0);
    return workers_[p.worker]->session.on_frame(ServerRank(p.server), std::move(frame));
  }
  /// Delivers a message from a worker to server 0, and returns the server's result.
  Status say(std::int32_t w, Kind kind, std::int64_t clock, std::uint64_t key, const std::vector<std::byte>& body,
             ConstBytes payload = {}) {
    return hand_over(
        {w, 0, true, {.kind = static_cast<std::uint16_t>(kind), .clock = clock, .key = key, .payload = payload}, body});
  }
  std::deque<Parcel>& parcels() { return parcels_; }
  /// Returns how many bytes of gradients and of parameters were sent since the last call.
  std::pair<std::size_t, std::size_t> take_bytes() { return std::exchange(bytes_, {}); }

 private:
  struct Shop final : ToWorkers {
    Shop(Town& t, std::int32_t k) : town(t), rank(k), server(ServerRank(k), memory, *this, &disk) {}
    void send(WorkerRank to, const transport::Message& m) override {
      if (m.kind == static_cast<std::uint16_t>(Kind::params)) town.bytes_.second += m.payload.size();
      town.put({to.value, rank, false, m, {}});
    }
    Town& town;
    std::int32_t rank;
    HeapMemory memory;
    NotedDisk disk;
    Server server;
  };
  struct Customer final : ToServers {
    Customer(Town& t, const Init& init, std::int32_t w)
        : town(t),
          rank(w),
          parameters(memory.allocate(t.layout_.bytes())),
          gradients(memory.allocate(t.layout_.bytes())),
          session(t.layout_, init, WorkerRank(w), parameters, *this) {}
    void send(ServerRank to, const transport::Message& m) override {
      if (m.kind == static_cast<std::uint16_t>(Kind::push)) town.bytes_.first += m.payload.size();
      town.put({rank, to.value, true, m, {}});
    }
    Town& town;
    std::int32_t rank;
    HeapMemory memory;
    Bytes parameters, gradients;
    Session session;
  };
  void put(Parcel p) {
    p.body.assign(p.message.body.begin(), p.message.body.end());
    parcels_.push_back(std::move(p));
  }
  const update::Layout& layout_;
  std::pair<std::size_t, std::size_t> bytes_;
  std::deque<Parcel> parcels_;
  std::vector<std::unique_ptr<Shop>> servers_;
  std::vector<std::unique_ptr<Customer>> workers_;
};

update::Layout two_large() {
  return std::move(
      *update::Layout::of({{"trained", {20'000}, DType::float32, true}, {"idle", {20'000}, DType::float32, true}}));
}

template <class T>
std::vector<std::byte> encoded(const T& message) {
  std::vector<std::byte> body;
  Writer writer(body);
  message.encode(writer);
  return body;
}

TEST(Server, WhatDoesNotChangeCostsNoBytes) {
  const update::Layout layout = two_large();
  for (Kinds kind : {Kinds::sync, Kinds::async}) {
    Init init;
    init.consistency.kind = kind;
    init.servers = 2;
    Town town(init, layout);
    EXPECT_EQ(town.take_bytes().second, 160'000u) << "all initial parameters";
    for (std::int64_t s = 0; s < 3; ++s) {
      if (kind == Kinds::async) {
        ASSERT_TRUE(town.session(0).ask({.end = 10}).ok());
        town.deliver();
      }
      town.push(0, s, {0, 1, 1}, 1, 1);
      town.deliver();
      ASSERT_FALSE(town.session(0).busy()) << town.session(0).missing();
      town.session(0).refresh();
      town.deliver();
      auto [gradients, parameters] = town.take_bytes();
      EXPECT_EQ(gradients, 80'000u) << "only what was trained";
      EXPECT_EQ(parameters, 80'000u);
      EXPECT_EQ(town.first_value(0, 0), 0.5f - 0.5f * static_cast<float>(s));
      EXPECT_EQ(town.first_value(0, 1), 1.0f);
    }
  }
}

TEST(Server, AStepThatIsSkippedCostsNoBytesBackAndCountsAsAVersion) {
  const update::Layout layout = two_large();
  Init init;
  init.policy.non_finite = update::NonFinite::skip;
  init.workers = init.servers = init.slices = 2;
  Town town(init, layout);
  (void)town.take_bytes();
  town.push(0, 0, {0, 1, 2}, 1);
  town.push(1, 0, {1, 2, 2}, std::numeric_limits<float>::infinity());
  town.deliver(2);
  EXPECT_EQ(town.take_bytes().second, 0u);
  for (std::int32_t w : {0, 1}) {
    ASSERT_FALSE(town.session(w).busy()) << town.session(w).missing();
    EXPECT_TRUE(town.session(w).outcome().skipped);
    EXPECT_EQ(town.first_value(w, 0), 1.0f);
  }
  town.push(0, 1, {0, 1, 2}, 1);
  town.push(1, 1, {1, 2, 2}, 1);
  town.deliver();
  EXPECT_FALSE(town.session(1).outcome().skipped);
  EXPECT_EQ(town.first_value(1, 0), 0.0f);
}

TEST(Server, APushIsKnownByItsSenderItsClockAndItsSlices) {
  const update::Layout layout = two_large();
  for (double clip_norm : {0.0, 1e9}) {
    Init init;
    init.policy.clip_norm = clip_norm;
    init.workers = 2;
    init.slices = 5;
    Town town(init, layout);
    for (std::int64_t s = 0; s < 3; ++s) {
      town.push(1, s, {2, 5, 5}, 0.25f);  // two parts
      town.deliver(2);
      town.push(0, s, {0, 2, 5}, 0.25f);
      town.deliver(3);
      for (std::int32_t w : {0, 1}) {
        ASSERT_FALSE(town.session(w).busy()) << town.session(w).missing();
        EXPECT_EQ(town.first_value(w, 1), 1.0f - 0.375f * static_cast<float>(s + 1));
      }
    }
    EXPECT_EQ(town.server(0).stats().pushes, 3 * 3 * static_cast<std::int64_t>(layout.partitions().size()));
  }
}

TEST(Server, SlicesThatAreNotSummedTogetherAreRefused) {
  const update::Layout layout = two_large();
  Init init;
  init.workers = 2;
  init.slices = 5;
  Town town(init, layout);
  const std::vector<std::byte> gradient(layout.partitions()[0].bytes);
  Push push;
  push.step = Step(0);
  push.slices = {1, 3, 5};
  EXPECT_EQ(town.say(0, Kind::push, 0, 0, encoded(push), gradient).code(), Code::corrupt);
  push.slices = {0, 2, 5};
  EXPECT_EQ(town.say(0, Kind::push, 0, 0, encoded(push), {}).code(), Code::corrupt) << "nothing is absent";
  EXPECT_TRUE(town.say(0, Kind::push, 0, 0, encoded(push), gradient).ok());
  push.slices = {2, 4, 5};
  push.samples = 7;
  EXPECT_EQ(town.say(1, Kind::push, 0, 0, encoded(push), gradient).code(), Code::invalid);
}

TEST(Server, TheFirstPlanDecidesAndTheOthersMustBeEqual) {
  const update::Layout layout = two_large();
  Init init;
  init.policy.clip_norm = 1;
  init.workers = init.slices = 2;
  Town town(init, layout);
  update::StepPlan plan{.factor = 0.5, .norm = 2.0};
  EXPECT_EQ(town.say(0, Kind::plan, 0, 0, encoded(plan)).code(), Code::corrupt) << "gradients are missing";
  town.push(0, 0, {0, 1, 2}, 1);
  town.push(1, 0, {1, 2, 2}, 1);
  while (!town.parcels().empty() && town.parcels().front().to_server) {
    ASSERT_TRUE(town.hand_over(town.parcels().front()).ok());
    town.parcels().pop_front();
  }
  ASSERT_TRUE(town.say(0, Kind::plan, 0, 0, encoded(plan)).ok());
  ASSERT_TRUE(town.say(0, Kind::plan, 0, 0, encoded(plan)).ok()) << "a repeat";
  plan.factor = 0.25;
  EXPECT_EQ(town.say(1, Kind::plan, 0, 0, encoded(plan)).code(), Code::corrupt);
  plan.action = update::StepPlan::Action::stop;
  EXPECT_EQ(town.say(1, Kind::plan, 1, 0, encoded(plan)).code(), Code::corrupt);
}

TEST(Server, AnAssignmentReachesAllAndLeavesTheOptimizerAlone) {
  const update::Layout layout = two_large();
  Init init;
  init.optimizer.groups[0].momentum = 0.5;
  init.workers = init.servers = init.slices = 2;
  Town town(init, layout);
  town.step(0);
  EXPECT_EQ(town.first_value(1, 0), 0.5f);
  auto* values = reinterpret_cast<float*>(town.parameters(0).data());
  std::fill(values, values + 20'000, 8.0f);
  (void)town.take_bytes();
  town.session(0).assign();
  town.deliver(2);
  ASSERT_FALSE(town.session(0).busy());
  for (std::int32_t w : {0, 1}) {
    town.session(w).refresh();
    town.deliver();
    EXPECT_EQ(town.first_value(w, 0), 8.0f);
  }
  EXPECT_EQ(town.take_bytes().second, 160'000u) << "to worker 1; worker 0 has them";
  town.step(1);
  EXPECT_EQ(town.first_value(0, 0), 8.0f - 0.5f * 1.5f) << "with the momentum of before";
  const std::vector<std::byte> part(layout.partitions()[0].bytes);
  EXPECT_EQ(town.say(1, Kind::assign, 1, 0, {}, part).code(), Code::corrupt) << "worker 1 may not";
}

TEST(Server, RatesHoldFromTheStepBeforeWhichTheyWereSaidAndAreEveryWorkersOwnWord) {
  const update::Layout layout = two_large();
  Init init;
  init.workers = init.servers = init.slices = 2;
  Town town(init, layout);
  town.step(0);
  EXPECT_EQ(town.first_value(1, 0), 0.5f) << "the rule's own, 0.5";
  const double rate[] = {0.25};
  town.session(0).set_rates(rate);
  town.session(1).set_rates(rate);
  town.deliver(2);
  town.step(1);
  EXPECT_EQ(town.first_value(0, 0), 0.25f);
  EXPECT_EQ(town.first_value(1, 1), 0.25f) << "at the other server too";
  EXPECT_EQ(town.say(1, Kind::rates, 1, 0, encoded(Rates{{0.125}})).code(), Code::invalid);
  EXPECT_EQ(town.say(1, Kind::rates, 2, 0, encoded(Rates{{1, 1}})).code(), Code::corrupt) << "one group";
  EXPECT_EQ(town.say(1, Kind::rates, 2, 0, encoded(Rates{{-1}})).code(), Code::corrupt);
}

TEST(Session, AStepOfWhichSomethingWasSentCannotBeGivenUp) {
  const update::Layout layout = two_large();
  Init init;
  Town town(init, layout);
  const std::vector<std::byte> gradient(layout.buckets()[0].bytes);
  Session& s = town.session(0);
  ASSERT_TRUE(s.begin({Step(0), {0, 1, 1}}, {}).ok());
  ASSERT_TRUE(s.abandon().ok());
  ASSERT_FALSE(s.busy());
  ASSERT_TRUE(s.begin({Step(0), {0, 1, 1}}, {}).ok());
  ASSERT_TRUE(s.push({.bucket = 0, .bytes = gradient}).ok());
  EXPECT_EQ(s.abandon().code(), Code::invalid);
}

TEST(Session, AnAnswerOfAnotherLoopIsNotTakenForThisOnes) {
  const update::Layout layout = two_large();
  Init init;
  init.consistency.kind = Kinds::async;
  Town town(init, layout);
  Session& s = town.session(0);
  ASSERT_TRUE(s.ask({.end = 5, .number = 1}).ok());
  town.parcels().clear();
  const std::vector<std::byte> of_loop_0 = encoded(LoopState{0, 0, 5, 5}), of_loop_1 = encoded(LoopState{1, 5, 10, 5});
  const auto finished = [&](const std::vector<std::byte>& state) {
    transport::Frame frame;
    frame.kind = static_cast<std::uint16_t>(Kind::finished);
    frame.body = state;
    return s.on_frame(ServerRank(0), std::move(frame));
  };
  ASSERT_TRUE(finished(of_loop_0).ok());
  EXPECT_EQ(s.missing(), "server 0: the next step number");
  ASSERT_TRUE(finished(of_loop_1).ok());
  town.deliver();
  EXPECT_FALSE(s.busy());
  EXPECT_EQ(s.loop(), (LoopState{1, 5, 10, 5}));
}

TEST(Server, SavesUnderAKeyAndWithoutOneLooksAtTheFolderAlone) {
  const update::Layout layout = two_large();
  Init init;
  init.servers = 2;
  Town town(init, layout);
  Session& s = town.session(0);
  s.save({"/folder", {}, "7 of this job"});
  EXPECT_TRUE(s.busy());
  town.deliver();
  EXPECT_FALSE(s.busy());
  EXPECT_TRUE(town.disk(0).saved.empty());
  s.save({"/folder/step", "key/", {}});
  town.deliver();
  EXPECT_FALSE(s.busy());
  ASSERT_EQ(town.disk(1).saved.size(), 1u);
  EXPECT_TRUE(town.disk(1).saved[0].starts_with("/folder/step owner-1.safetensors key/1 ")) << town.disk(1).saved[0];
  town.disk(0).mark = "9 of another";
  const Status why = town.say(0, Kind::save, 3, 0, encoded(Save{"/folder", {}, "7 of this job"}));
  EXPECT_EQ(why.message(), "/folder: is another one");
  EXPECT_EQ(town.say(1, Kind::save, 4, 0, encoded(Save{"/folder", "key/", {}})).code(), Code::corrupt)
      << "it is worker 0's to ask";
}

TEST(Session, AnAsynchronousStepThatIsHeldBackCanBeGivenUpAndBegunAgain) {
  const update::Layout layout = two_large();
  Init init;
  init.consistency.kind = Kinds::async;
  init.policy.clip_norm = 1e9;
  Town town(init, layout);
  Session& s = town.session(0);
  ASSERT_TRUE(s.ask({.end = 5}).ok());
  town.deliver();
  const std::vector<std::byte> gradient(layout.buckets()[0].bytes);
  ASSERT_TRUE(s.begin({*s.granted(), {0, 1, 1}}, {}).ok());
  ASSERT_TRUE(s.push({.bucket = 0, .bytes = gradient}).ok());
  ASSERT_TRUE(s.abandon().ok());
  ASSERT_EQ(s.granted(), Step(0));
  town.push(0, 0, {0, 1, 1}, 1);
  town.deliver();
  ASSERT_FALSE(s.busy()) << s.missing();
  s.refresh();
  town.deliver();
  EXPECT_EQ(town.first_value(0, 0), 0.5f);
}

}  // namespace
}  // namespace cohaul::ps
