#pragma once
// Masks that say which parameters of a bucket got no gradient.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cohaul/base/bytes.h"

namespace cohaul::update {

/// One bit for each parameter of a bucket, from its first; set where there is no gradient. Empty: all have one.
using AbsentMask = ConstBytes;

constexpr std::size_t absent_mask_bytes(std::size_t parameters) { return (parameters + 7) / 8; }

/// index: of the parameter within the bucket.
inline bool is_absent(AbsentMask mask, std::size_t index) {
  return !mask.empty() && (mask[index / 8] & (std::byte{1} << (index % 8))) != std::byte{0};
}

/// mask: resized and filled with "none is absent" where it is empty.
inline void set_absent(std::vector<std::byte>& mask, std::size_t index, std::size_t parameters) {
  if (mask.empty()) mask.resize(absent_mask_bytes(parameters));
  mask[index / 8] |= std::byte{1} << (index % 8);
}

/// Returns whether a mask that came from a peer fits a bucket of so many parameters.
constexpr bool fits(AbsentMask mask, std::size_t parameters) {
  return mask.empty() || mask.size() == absent_mask_bytes(parameters);
}

}  // namespace cohaul::update
