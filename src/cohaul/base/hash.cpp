#include "cohaul/base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cohaul/base/digits.h"

namespace cohaul {

std::uint64_t hash64(ConstBytes bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::string hash128(ConstBytes bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return hex_of(hash.high64) + hex_of(hash.low64);
}

}  // namespace cohaul
