#pragma once
// Files that may hold secrets.

#include <string>

#include "cohaul/base/status.h"

namespace cohaul::job {

enum class Readers { anybody, owner };

/// Returns the first `most` bytes of a file. invalid, naming the file: it cannot be read; or only its owner should be
/// able to read it, and others are.
Result<std::string> read_file(const std::string& path, std::size_t most, Readers readers);

}  // namespace cohaul::job
