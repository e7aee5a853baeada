// Arbitrary bytes as messages of an all-reduce: first the decoder of every body, then a whole conversation with a rank, frame after frame, during its
// steps. Nothing may crash, read past an end, or fail a check.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cohaul/collective/rank_session.h"

using namespace cohaul;
using namespace cohaul::collective;

namespace {

struct Silence final : ToRanks {
  void send(int, const transport::Message&) override {}
};

update::Layout small_layout() {
  return std::move(*update::Layout::of({{"weight", {5000}, DType::float32, true},
                                        {"bias", {9}, DType::float64, true},
                                        {"scale", {3}, DType::float64, true}}));
}

void decode_all(ConstBytes in) {
  Reader head(in), end(in), facts(in);
  (void)GradientHead::decode(head).ok();
  update::PartEnd ends[2];
  std::string_view text;
  (void)StepEnd::decode(end, ends, text).ok();
  (void)Failure::decode(in).ok();
  (void)update::GradientFacts::decode(facts).ok();
}

/// Returns the next frame of the input: kind, sender, clock, key, kind of payload, length of the body, body. The fields are close to what is
/// expected; otherwise nothing after the first check would be reached.
transport::Frame next_frame(Reader& in, int& from, ConstBytes payload) {
  transport::Frame frame;
  frame.kind = static_cast<std::uint16_t>(16 + in.get<std::uint8_t>() % 13);
  from = 1 + in.get<std::uint8_t>() % 2;
  frame.clock = in.get<std::int8_t>();
  frame.key = in.get<std::uint8_t>() % 4;
  frame.payload = payload.first(std::min<std::size_t>(payload.size(), in.get<std::uint16_t>()));
  const std::size_t length = in.get<std::uint8_t>();
  frame.body = in.raw(std::min(length, in.left()));
  return frame;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ConstBytes in(reinterpret_cast<const std::byte*>(data), size);
  decode_all(in);

  static const update::Layout layout = small_layout();
  alignas(64) static std::byte memory[65536];
  const Bytes parameters = Bytes(memory).first(layout.bytes());
  Reader reader(in);
  const std::uint8_t how = reader.get<std::uint8_t>();
  RankSettings settings{.optimizer = update::RuleSettings{.lr = 0.1}, .shared_parameters = (how & 1) != 0, .slices = 5};
  if ((how & 2) != 0) settings.policy.non_finite = update::NonFinite::skip;
  if ((how & 4) != 0) settings.policy.watch_every = 2;
  Silence silence;
  RankSession session(layout, settings, 0, 3, parameters, silence);
  const update::SliceRange mine = update::slices_of(5, 0, 3);
  const std::size_t parts = update::subtrees_of(mine).size();
  const std::vector<update::PartEnd> ends(parts);
  std::int64_t step = 0;
  while (reader.ok() && reader.left() > 0 && session.failure().ok()) {
    switch (reader.get<std::uint8_t>() % 8) {
      case 0:
        if (!session.begin({Step(step), mine}, (how & 4) != 0 ? "loop=1\n" : "").ok()) break;
        for (std::size_t k = 0; k < parts; ++k)
          for (std::size_t bucket = 0; bucket < layout.buckets().size(); ++bucket)
            (void)session.push({.part = static_cast<std::int32_t>(k),
                                .bucket = static_cast<std::int32_t>(bucket),
                                .bytes = ConstBytes(memory).first(layout.buckets()[bucket].bytes)});
        ++step;
        break;
      case 1: (void)session.finish(ends); break;
      case 2: (void)session.write(); break;
      default: {
        int from = 0;
        transport::Frame frame = next_frame(reader, from, memory);
        (void)session.place(from, frame.kind, frame.clock, frame.key, frame.payload.size());
        (void)session.on_frame(from, std::move(frame));
        (void)session.missing(from);
      }
    }
  }
  return 0;
}
