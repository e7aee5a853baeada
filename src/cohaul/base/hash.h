#pragma once

#include <cstdint>

#include "cohaul/base/bytes.h"

namespace cohaul {

/// Returns the FNV-1a hash of 64 bits. To go on with more bytes, give it the hash so far.
constexpr std::uint64_t fnv1a(ConstBytes bytes, std::uint64_t hash = 0xcbf29ce484222325) {
  for (const std::byte b : bytes) hash = (hash ^ static_cast<std::uint64_t>(b)) * 0x100000001b3;
  return hash;
}

}  // namespace cohaul
