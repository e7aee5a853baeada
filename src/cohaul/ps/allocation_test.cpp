// The hot path does not allocate: what server, coordinator and session do in a step, once they are warm.

#include <gtest/gtest.h>

#include <cstddef>
#include <deque>

#include "cohaul/base/testing/allocations.h"
#include "cohaul/ps/server.h"
#include "cohaul/ps/session.h"

namespace cohaul::ps {
namespace {

/// One server and its workers, whose messages arrive in the order said; bodies in fixed places.
class Wire final : public ToServers, public ToWorkers {
 public:
  struct Parcel {
    std::int32_t to;
    transport::Message message;
    std::byte body[128];
  };
  Wire() { parcels_.resize(256); }
  void send(ServerRank, const transport::Message& m) override { put(-1, m); }
  void send(WorkerRank to, const transport::Message& m) override { put(to.value, m); }
  void deliver(Server& server, Session& session) {
    while (first_ != last_) {
      Parcel& p = parcels_[first_++ % parcels_.size()];
      transport::Frame frame;
      frame.kind = p.message.kind, frame.clock = p.message.clock, frame.key = p.message.key;
      frame.body = p.message.body, frame.payload = p.message.payload;
      Status status = p.to < 0 ? server.on_frame(WorkerRank(0), std::move(frame), 0)
                               : session.on_frame(ServerRank(0), std::move(frame));
      ASSERT_TRUE(status.ok()) << status.message();
      p.message.keep.reset();
    }
  }

 private:
  void put(std::int32_t to, const transport::Message& m) {
    Parcel& p = parcels_[last_++ % parcels_.size()];
    p.to = to;
    p.message = m;
    ASSERT_LE(m.body.size(), sizeof p.body);
    std::copy(m.body.begin(), m.body.end(), p.body);
    p.message.body = {p.body, m.body.size()};
  }
  std::vector<Parcel> parcels_;
  std::size_t first_ = 0, last_ = 0;
};

void run(Consistency consistency) {
  auto layout = update::Layout::of({{"weight", {40'000}, DType::float32, true}, {"bias", {7}, DType::float32, true}});
  ASSERT_TRUE(layout.ok());
  Init init;
  init.consistency = consistency;
  init.rule.momentum = 0.9;
  init.layout_hash = layout->hash();
  HeapMemory memory;
  Bytes parameters = memory.allocate(layout->bytes()), gradients = memory.allocate(layout->bytes());
  Wire wire;
  Server server(ServerRank(0), memory, wire);
  server.joined(WorkerRank(0), Incarnation(1));
  Session session(*layout, init, WorkerRank(0), parameters, wire);
  session.start();
  wire.deliver(server, session);
  bool sync = consistency.kind == Consistency::Kind::sync;
  long before = 0;
  for (std::int64_t s = 0; s < 105; ++s) {
    if (s == 5) before = testing_tools::allocations();
    if (!sync) {
      session.ask({.end = 1000});
      wire.deliver(server, session);
    }
    ASSERT_TRUE(session.begin({Step(s), {0, 1, 1}}, {0.1}).ok());
    for (std::size_t r = 0; r < layout->runs().size(); ++r) {
      const update::Run& run = layout->runs()[r];
      ASSERT_TRUE(session.push(static_cast<std::int32_t>(r), gradients.subspan(run.offset, run.bytes), {}).ok());
    }
    wire.deliver(server, session);
    ASSERT_TRUE(session.finish(1).ok());
    wire.deliver(server, session);
    ASSERT_FALSE(session.busy());
  }
  EXPECT_EQ(testing_tools::allocations() - before, 0);
}

TEST(Allocation, NoneInAHundredSteps) {
  run({Consistency::Kind::sync, 0});
  run({Consistency::Kind::async, 0});
  run({Consistency::Kind::bounded, 2});
}

}  // namespace
}  // namespace cohaul::ps
