// The hot path does not allocate: server, coordinator and session need no new memory in a step after the first ones.

#include <gtest/gtest.h>

#include <cstddef>
#include <deque>

#include "cohaul/base/testing/allocations.h"
#include "cohaul/ps/server.h"
#include "cohaul/ps/session.h"

namespace cohaul::ps {
namespace {

/// One server and its workers. Messages are delivered in the order in which they were sent; bodies have fixed buffers.
class Wire final : public ToServers, public ToWorkers {
 public:
  struct Parcel {
    std::int32_t to;
    transport::Message message;
    std::byte body[1024];
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

void run(Consistency consistency, double clip_norm) {
  auto layout = update::Layout::of({{"weight", {40'000}, DType::float32, true}, {"bias", {7}, DType::float32, true}});
  ASSERT_TRUE(layout.ok());
  Init init;
  init.consistency = consistency;
  init.policy.clip_norm = clip_norm;
  init.slices = 4;
  init.optimizer = update::RuleSettings{.lr = 0.1, .momentum = 0.9};
  init.layout_hash = layout->hash();
  HeapMemory memory;
  Bytes parameters = memory.allocate(layout->bytes()), gradients = memory.allocate(layout->bytes());
  Wire wire;
  Server server(ServerRank(0), memory, wire);
  server.connected(WorkerRank(0), Incarnation(1));
  Session session(*layout, init, WorkerRank(0), parameters, wire);
  session.start();
  wire.deliver(server, session);
  bool sync = consistency.kind == Consistency::Kind::sync;
  long before = 0;
  for (std::int64_t s = 0; s < 105; ++s) {
    if (s == 5) before = testing_tools::allocations();
    if (!sync) {
      ASSERT_TRUE(session.ask({.end = 1000}).ok());
      wire.deliver(server, session);
    }
    ASSERT_TRUE(session.begin({Step(s), {0, 4, 4}}, {}).ok());
    for (std::size_t r = 0; r < layout->buckets().size(); ++r) {
      const update::Bucket& bucket = layout->buckets()[r];
      update::Gradient gradient{.bucket = static_cast<std::int32_t>(r),
                                .bytes = gradients.subspan(bucket.offset, bucket.bytes),
                                .samples = 100};
      ASSERT_TRUE(session.push(gradient).ok());
    }
    wire.deliver(server, session);
    const update::PartEnd end{.loss = 1, .samples = 100};
    ASSERT_TRUE(session.finish({&end, 1}).ok());
    wire.deliver(server, session);
    ASSERT_FALSE(session.busy());
  }
  EXPECT_EQ(testing_tools::allocations() - before, 0) << name(consistency.kind) << ", clip_norm " << clip_norm;
}

TEST(Allocation, NoneInAHundredSteps) {
  for (double clip_norm : {0.0, 1.0}) {
    run({Consistency::Kind::sync, 0}, clip_norm);
    run({Consistency::Kind::async, 0}, clip_norm);
    run({Consistency::Kind::bounded, 2}, clip_norm);
  }
}

}  // namespace
}  // namespace cohaul::ps
