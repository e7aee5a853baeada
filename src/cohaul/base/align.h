#pragma once

#include <cstddef>
#include <cstdint>

namespace cohaul {

/// On which parameters, payloads and partitions start in memory, in bytes: a line of the processor's cache.
constexpr std::size_t kAlignment = 64;

/// The least multiple of kAlignment that is not less than `bytes`.
constexpr std::uint64_t aligned(std::uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
static_assert(aligned(0) == 0 && aligned(1) == 64 && aligned(64) == 64 && aligned(65) == 128);

}  // namespace cohaul
