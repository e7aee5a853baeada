// Foreign bytes as the conversation of the parameter server: every body's decoder; then a whole conversation with a server that knows
// its job, frame after frame. Nothing may crash, read past an end, or reach a check.

#include <algorithm>
#include <cstddef>
#include <cstdint>

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
  (void)StepDone::decode(in);
  (void)Refusal::decode(in);
  Reader reader(in);
  (void)Stats::decode(reader);
}

/// One frame: kind, sender, clock, key, what of the payload, length of the body, body.
transport::Frame next_frame(Reader& in, std::int32_t& from, ConstBytes gradient) {
  transport::Frame frame;
  frame.kind = in.get<std::uint8_t>();
  from = in.get<std::int8_t>();
  frame.clock = in.get<std::int8_t>();
  frame.key = in.get<std::uint8_t>();
  frame.payload = gradient.first(std::min<std::size_t>(gradient.size(), in.get<std::uint16_t>()));
  std::size_t length = in.get<std::uint8_t>();
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
  init.consistency.kind = static_cast<Consistency::Kind>(reader.get<std::uint8_t>() % 3);
  init.workers = 2;
  init.slices = 2;
  init.layout_hash = layout.hash();
  std::vector<std::byte> encoded, body;
  Writer layout_writer(encoded), body_writer(body);
  layout.encode(layout_writer);
  init.encode(body_writer);

  Silence silence;
  HeapMemory memory;
  Server server(ServerRank(0), memory, silence);
  for (std::int32_t w = 0; w < 2; ++w) {
    server.joined(WorkerRank(w), Incarnation(1));
    transport::Frame frame;
    frame.kind = static_cast<std::uint16_t>(Kind::init);
    frame.body = body;
    frame.payload = encoded;
    (void)server.on_frame(WorkerRank(w), std::move(frame), 0);
  }
  std::vector<std::byte> parameters(layout.bytes());
  Session session(layout, init, WorkerRank(0), parameters, silence);
  session.start();
  while (reader.ok() && reader.left() > 0) {
    std::int32_t from = 0;
    transport::Frame frame = next_frame(reader, from, gradient);
    transport::Frame copy;
    copy.kind = static_cast<std::uint16_t>(frame.kind + 62);
    copy.clock = frame.clock, copy.key = frame.key, copy.body = frame.body, copy.payload = frame.payload;
    (void)server.on_frame(WorkerRank(from), std::move(frame), 0);
    (void)session.on_frame(ServerRank(0), std::move(copy));
  }
  return 0;
}
