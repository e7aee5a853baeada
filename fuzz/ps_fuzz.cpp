// Arbitrary bytes as messages of the parameter server: first the decoder of every body, then a whole conversation with a server that has its
// settings, frame after frame. Nothing may crash, read past an end, or fail a check.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cohaul/ps/memory.h"
#include "cohaul/ps/server.h"
#include "cohaul/ps/session.h"

using namespace cohaul;
using namespace cohaul::ps;

namespace {

struct Silence final : ToWorkers, ToServers {
  void send(WorkerRank, const transport::Message&) override {}
  void send(ServerRank, const transport::Message&) override {}
};

update::Layout small_layout() {
  return std::move(
      *update::Layout::of({{"weight", {1500}, DType::float32, true}, {"fixed", {3}, DType::float32, false}}));
}

void decode_all(ConstBytes in) {
  (void)Init::decode(in);
  (void)Push::decode(in);
  (void)Ack::decode(in);
  (void)Measured::decode(in);
  (void)Rates::decode(in);
  (void)Restore::decode(in);
  (void)Save::decode(in);
  (void)Ready::decode(in);
  (void)LeaveLoop::decode(in);
  (void)LoopState::decode(in);
  (void)StepDone::decode(in);
  (void)UpdateReport::decode(in);
  (void)trainer_of({reinterpret_cast<const char*>(in.data()), in.size()});
  (void)Refusal::decode(in);
  Reader reader(in);
  (void)Stats::decode(reader);
  Reader plan(in);
  (void)update::StepPlan::decode(plan);
}

/// Brings a session that is not busy into a state in which it waits for servers.
void act(Session& session, std::uint8_t mode, ConstBytes gradient, const update::Layout& layout) {
  if (mode & 64) {
    session.assign();
    return;
  }
  if (mode % 3 != 0 && mode & 128) (void)session.ask({.end = 10, .report_every = 1, .facts = "a=1\n"}).ok();
  const update::SliceRange slices = mode % 3 == 0 ? update::SliceRange{2, 5, 5} : update::SliceRange{0, 5, 5};
  if (!session.begin({Step(0), slices}, {}).ok()) return;
  const auto parts = update::subtrees_of(slices);
  for (std::size_t k = 0; k < parts.size(); ++k) {
    for (std::size_t r = 0; r < layout.buckets().size(); ++r) {
      const auto bucket = static_cast<std::int32_t>(r);
      (void)session
          .push({.part = static_cast<std::int32_t>(k),
                 .bucket = bucket,
                 .bytes = gradient.first(layout.buckets()[r].bytes)})
          .ok();
    }
  }
  (void)session.finish(std::vector<update::PartEnd>(parts.size())).ok();
}

/// Returns the next frame of the input: kind, sender, clock, key, kind of payload (0: none, 1: as long as the partition), length of the body, body.
transport::Frame next_frame(Reader& in, std::int32_t& from, ConstBytes gradient, const update::Layout& layout) {
  transport::Frame frame;
  frame.kind = in.get<std::uint8_t>() % 96;
  from = in.get<std::int8_t>();
  frame.clock = in.get<std::int8_t>();
  frame.key = in.get<std::uint8_t>();
  std::size_t payload = in.get<std::uint16_t>(), length = in.get<std::uint16_t>() % 1024;
  if (payload == 1 && frame.key < layout.partitions().size()) payload = layout.partitions()[frame.key].bytes;
  frame.payload = gradient.first(std::min(gradient.size(), payload));
  frame.body = in.raw(std::min(length, in.left()));
  return frame;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ConstBytes in(reinterpret_cast<const std::byte*>(data), size);
  decode_all(in);

  static const update::Layout layout = small_layout();
  static const std::vector<std::byte> gradient(8192);
  Reader reader(in);
  Init init;
  const auto mode = reader.get<std::uint8_t>();
  init.consistency.kind = static_cast<Consistency::Kind>(mode % 3);
  if (mode & 16) init.policy.clip_norm = 1;
  if (mode & 32) init.policy.non_finite = update::NonFinite::skip;
  if (mode & 64) init.policy.watch_every = 2;
  init.workers = 2;
  init.slices = 5;  // worker 1 has two parts
  init.layout_hash = layout.hash();
  std::vector<std::byte> encoded, body;
  Writer layout_writer(encoded), body_writer(body);
  layout.encode(layout_writer);
  init.encode(body_writer);

  Silence silence;
  HeapMemory memory;
  Server server(ServerRank(0), memory, silence);
  for (std::int32_t w = 0; w < 2; ++w) {
    server.connected(WorkerRank(w), Incarnation(1));
    transport::Frame frame;
    frame.kind = static_cast<std::uint16_t>(Kind::init);
    frame.body = body;
    frame.payload = encoded;
    (void)server.on_frame(WorkerRank(w), std::move(frame), 0);
  }
  std::vector<std::byte> parameters(layout.bytes());
  Session session(layout, init, WorkerRank(0), parameters, silence);
  if (mode & 8) session.start();
  act(session, mode, gradient, layout);
  while (reader.ok() && reader.left() > 0) {
    std::int32_t from = 0;
    transport::Frame frame = next_frame(reader, from, gradient, layout);
    transport::Frame copy;
    copy.kind = static_cast<std::uint16_t>(frame.kind + 62);
    copy.clock = frame.clock, copy.key = frame.key, copy.body = frame.body, copy.payload = frame.payload;
    (void)server.on_frame(WorkerRank(from), std::move(frame), 0);
    (void)session.on_frame(ServerRank(0), std::move(copy));
  }
  return 0;
}
