#pragma once
// Converts pixels from bytes to float.

#include <cstddef>
#include <cstdint>
#include <span>

namespace cohaul::data {

/// Computes out[i] = in[i] / 255, with the rounding of a float division. Both have the same length and do not overlap.
void scale_pixels(std::span<const std::uint8_t> in, float* out);

/// Prefetches an image that scale_pixels() will read soon into the CPU's cache.
void prefetch_pixels(std::span<const std::uint8_t> image);

}  // namespace cohaul::data
