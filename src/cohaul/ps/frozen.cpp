#include "cohaul/ps/frozen.h"

#include <cstring>

#include "cohaul/ps/messages.h"

namespace cohaul::ps {
namespace {

template <class F>
void each_frozen(const update::Layout& layout, F f) {
  for (std::size_t i = 0; i < layout.parameters().size(); ++i) {
    if (!layout.parameters()[i].trainable) f(static_cast<std::int32_t>(i));
  }
}

}  // namespace

std::uint64_t frozen_bytes(const update::Layout& layout) {
  std::uint64_t sum = 0;
  each_frozen(layout, [&](std::int32_t i) { sum += layout.bytes(i); });
  return sum;
}

std::vector<std::byte> gather_frozen(const update::Layout& layout, ConstBytes parameters) {
  std::vector<std::byte> out;
  Writer writer(out);
  each_frozen(layout, [&](std::int32_t i) { writer.raw(parameters.subspan(layout.offset(i), layout.bytes(i))); });
  return out;
}

void scatter_frozen(const update::Layout& layout, ConstBytes values, Bytes parameters) {
  std::uint64_t from = 0;
  each_frozen(layout, [&](std::int32_t i) {
    if (layout.bytes(i) > 0) std::memcpy(parameters.data() + layout.offset(i), values.data() + from, layout.bytes(i));
    from += layout.bytes(i);
  });
}

Frozen::Frozen(const update::Layout& layout, std::int32_t workers, ToWorkers& out)
    : key_(frozen_key(layout)), bytes_(frozen_bytes(layout)), out_(out), wanted_(workers) {}

Status Frozen::initial(ConstBytes values) {
  if (values.size() != bytes_) return corrupt("frozen parameters of another size");
  if (values_) return {};
  values_ = std::make_shared<std::vector<std::byte>>(values.begin(), values.end());
  for (std::size_t w = 0; w < wanted_.size(); ++w) answer(WorkerRank(static_cast<std::int32_t>(w)));
  return {};
}

void Frozen::pull(WorkerRank from) {
  wanted_[from.value] = true;
  answer(from);
}

void Frozen::answer(WorkerRank to) {
  if (!values_ || !wanted_[to.value]) return;
  wanted_[to.value] = false;
  out_.send(to, {.kind = static_cast<std::uint16_t>(Kind::params), .key = key_, .payload = *values_, .keep = values_});
}

}  // namespace cohaul::ps
