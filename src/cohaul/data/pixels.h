#pragma once
// Pixels, as the network wants them.

#include <cstddef>
#include <cstdint>
#include <span>

namespace cohaul::data {

/// out[i] = in[i] / 255, rounded as the division is. Both have the same length; they do not overlap.
void scale_pixels(std::span<const std::uint8_t> in, float* out);

/// Asks for an image that scale_pixels() will read soon.
void prefetch_pixels(std::span<const std::uint8_t> image);

}  // namespace cohaul::data
