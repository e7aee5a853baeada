#pragma once
// Which server keeps a partition. Partitions are assigned to a fixed number of shards, and shards to servers, so another number of servers moves
// whole shards.

#include "cohaul/base/ids.h"
#include "cohaul/base/limits.h"

namespace cohaul::ps {

constexpr std::int32_t kShards = 64;
static_assert(kServersMax <= kShards, "each server has a shard");

constexpr std::int32_t shard_of(PartitionId partition) { return partition.value % kShards; }
/// 1 ≤ servers ≤ kServersMax.
constexpr ServerRank server_of(PartitionId partition, std::int32_t servers) {
  return ServerRank(shard_of(partition) % servers);
}
/// The coordinator of clocks lives in this server's process.
constexpr ServerRank kCoordinator{0};

}  // namespace cohaul::ps
