#pragma once
// Ids with distinct types: a WorkerRank is not a ServerRank, a Step is not a Version.

#include <compare>
#include <cstdint>
#include <functional>

namespace cohaul {

template <class Tag, class Int>
struct Id {
  Int value{};
  constexpr Id() = default;
  constexpr explicit Id(Int v) : value(v) {}
  constexpr auto operator<=>(const Id&) const = default;
};

using WorkerRank = Id<struct WorkerRankTag, std::int32_t>;
using ServerRank = Id<struct ServerRankTag, std::int32_t>;
/// Number of an update, from 0.
using Step = Id<struct StepTag, std::int64_t>;
/// A worker's own count of pushes.
using WorkerClock = Id<struct WorkerClockTag, std::int64_t>;
/// How often a partition has been updated.
using Version = Id<struct VersionTag, std::int64_t>;
using PartitionId = Id<struct PartitionIdTag, std::int32_t>;
/// One life of a process: a restarted worker has the same rank and another incarnation.
using Incarnation = Id<struct IncarnationTag, std::uint64_t>;
/// One membership of the job.
using Generation = Id<struct GenerationTag, std::uint32_t>;

}  // namespace cohaul

template <class Tag, class Int>
struct std::hash<cohaul::Id<Tag, Int>> {
  std::size_t operator()(const cohaul::Id<Tag, Int>& id) const { return std::hash<Int>{}(id.value); }
};
