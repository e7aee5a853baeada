#pragma once
// Files that are read as memory, and written whole or not at all.

#include <memory>
#include <span>
#include <string>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"

namespace cohaul::checkpoint {

/// A file's content, for as long as the mapping is held. Nothing may truncate the file meanwhile (write_file() never
/// truncates one that it replaces).
struct MappedFile {
  std::shared_ptr<const void> mapping;
  ConstBytes bytes;
};
/// Maps a file. Errors: invalid, naming the file: it cannot be opened, or is no regular file.
Result<MappedFile> map_file(const std::string& path);

/// Writes the parts one after the other into a temporary file beside `path`, which takes its name once it is on the
/// disk. An existing file is replaced. Blocks until then. Errors: invalid, naming the file and the reason (no folder,
/// no permission, disk full).
Status write_file(const std::string& path, std::span<const ConstBytes> parts);

/// Writes the names in a folder to the disk. Errors: invalid, naming it.
Status sync_folder(const std::string& folder);

/// Checks that write_file(path) would find a folder that it may write into; leaves nothing behind.
Status check_writable(const std::string& path);

}  // namespace cohaul::checkpoint
