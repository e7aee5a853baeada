#pragma once
// Writes a checkpoint's parameters as one safetensors file, for other programs.

#include <string>

#include "cohaul/base/status.h"
#include "cohaul/checkpoint/manifest.h"

namespace cohaul::checkpoint {

/// Writes parameters, in row-major order, and buffers of a verified checkpoint into `file`. Blocks until it is on the disk. Errors: invalid, naming the
/// file.
Status export_parameters(const std::string& checkpoint, const Manifest& manifest, const std::string& file);

}  // namespace cohaul::checkpoint
