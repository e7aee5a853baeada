#pragma once

#include <cstdint>

#include "cohaul/base/bytes.h"

namespace cohaul {

/// XXH3 of 64 bits: tells contents apart, and protects from nobody. To go on with more bytes, give it the hash so far as the seed.
std::uint64_t hash64(ConstBytes bytes, std::uint64_t seed = 0);

}  // namespace cohaul
