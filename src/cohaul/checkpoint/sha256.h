#pragma once
// The hash that a record names the parameters by.

#include <span>
#include <string>

#include "cohaul/checkpoint/safetensors.h"

namespace cohaul::checkpoint {

/// Returns the SHA-256, 64 hexadecimal digits, over the tensors' bytes (whole, contiguous, little-endian) one after
/// the other, names sorted bytewise. Names, shapes and types are not part of it.
std::string parameters_sha256(std::span<const TensorView> tensors);

}  // namespace cohaul::checkpoint
