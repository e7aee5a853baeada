#include "cohaul/collective/rank_messages.h"

#include <algorithm>
#include <cmath>

namespace cohaul::collective {

void GradientHead::encode(Writer& out) const {
  out.put(part).put(static_cast<std::uint32_t>(absent.size())).raw(absent);
}

Result<GradientHead> GradientHead::decode(Reader& in) {
  GradientHead m;
  m.part = in.get<std::int32_t>();
  m.absent = in.raw(in.get<std::uint32_t>());
  if (!in.ok() || m.part < 0) return corrupt("an unreadable gradient");
  return m;
}

void StepEnd::encode(Writer& out) const {
  out.put(static_cast<std::uint32_t>(ends.size()));
  for (const update::PartEnd& end : ends) out.put(end.loss).put(end.samples).put(end.counters).put(end.request);
  out.text(facts);
}

Status StepEnd::decode(Reader& in, std::span<update::PartEnd> ends, std::string_view& facts) {
  if (in.get<std::uint32_t>() != ends.size()) return corrupt("the end of a step with another number of parts");
  for (update::PartEnd& end : ends) {
    end.loss = in.get<double>();
    end.samples = in.get<double>();
    end.counters = in.get<std::uint64_t>();
    end.request = in.get<std::uint8_t>();
    if (!(std::isfinite(end.samples) && end.samples >= 0))
      return corrupt("the end of a step without a number of samples");
  }
  const ConstBytes text = in.raw(in.get<std::uint32_t>());
  facts = {reinterpret_cast<const char*>(text.data()), text.size()};
  if (!in.done()) return corrupt("an unreadable end of a step");
  return {};
}

void Failure::encode(Writer& out) const { out.put(code).text(std::string_view(why).substr(0, kFailureTextMax)); }

Result<Failure> Failure::decode(ConstBytes body) {
  Reader in(body);
  Failure m;
  const auto code = in.get<std::uint8_t>();
  m.why = in.text();
  if (!in.done() || code == 0 || code > static_cast<std::uint8_t>(Code::internal))
    return corrupt("an unreadable failure");
  m.code = static_cast<Code>(code);
  return m;
}

}  // namespace cohaul::collective
