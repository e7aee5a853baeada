#include "cohaul/ps/consistency.h"

#include <algorithm>
#include <tuple>

namespace cohaul::ps {

std::string_view name(Consistency::Kind kind) {
  switch (kind) {
    case Consistency::Kind::sync: return "sync";
    case Consistency::Kind::async: return "async";
    case Consistency::Kind::bounded: return "bounded";
  }
  return "unknown";
}

void Consistency::encode(Writer& out) const { out.put(kind).put(staleness); }

Result<Consistency> Consistency::decode(Reader& in) {
  Consistency c;
  auto kind = in.get<std::uint8_t>();
  c.staleness = in.get<std::int64_t>();
  if (!in.ok() || kind > static_cast<std::uint8_t>(Kind::bounded) || c.staleness < 0) {
    return corrupt("an unreadable consistency");
  }
  c.kind = static_cast<Kind>(kind);
  return c;
}

std::optional<std::int64_t> slowest(std::span<const Progress> workers) {
  std::optional<std::int64_t> least;
  for (const Progress& w : workers) {
    if (w.counts()) least = std::min(least.value_or(w.pushed), w.pushed);
  }
  return least;
}

Decision may_start(const Consistency& consistency, std::int64_t pushed, std::int64_t slowest) {
  if (consistency.kind != Consistency::Kind::bounded) return {true, "nothing bounds it"};
  if (pushed - slowest <= consistency.staleness) return {true, "within the bound"};
  return {false, "too far ahead of the slowest worker"};
}

std::optional<WorkerRank> next_to_start(const Consistency& consistency, std::span<const Progress> workers) {
  std::optional<std::int64_t> least = slowest(workers);
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < workers.size(); ++i) {
    const Progress& w = workers[i];
    if (w.state != Progress::State::waiting || !may_start(consistency, w.pushed, *least).yes) continue;
    if (!best || std::tie(w.pushed, w.arrival) < std::tie(workers[*best].pushed, workers[*best].arrival)) best = i;
  }
  if (!best) return std::nullopt;
  return WorkerRank(static_cast<std::int32_t>(*best));
}

Decision update_is_due(const Consistency& consistency, std::int32_t covered, std::int32_t slices) {
  if (consistency.kind != Consistency::Kind::sync) return {true, "every push is applied when it comes"};
  if (covered == slices) return {true, "all slices have come"};
  return {false, "slices are missing"};
}

}  // namespace cohaul::ps
