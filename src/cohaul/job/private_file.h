#pragma once
// Files that may hold secrets.

#include <string>

#include "cohaul/base/status.h"

namespace cohaul::job {

enum class Readers { anybody, owner };

/// A file's text, the first `most` bytes of it. invalid, naming the file: it cannot be read; only its owner should be able to, and others are.
Result<std::string> read_file(const std::string& path, std::size_t most, Readers readers);

}  // namespace cohaul::job
