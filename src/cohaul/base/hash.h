#pragma once

#include <cstdint>
#include <string>

#include "cohaul/base/bytes.h"

namespace cohaul {

/// Returns the XXH3 hash of 64 bits. It tells contents apart, and is no protection against an attacker. To go on with more bytes, give it the hash so
/// far as the seed.
std::uint64_t hash64(ConstBytes bytes, std::uint64_t seed = 0);
/// Returns the XXH3 hash of 128 bits as 32 hexadecimal digits.
std::string hash128(ConstBytes bytes);

}  // namespace cohaul
