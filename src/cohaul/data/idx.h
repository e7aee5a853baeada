#pragma once
// IDX files on disk, plain or gzipped (told by their content, not their name).

#include <filesystem>

#include "cohaul/data/idx_format.h"

namespace cohaul::data {

/// `stem` ("train-images-idx3-ubyte") in `folder`, plain or with .gz. Errors: invalid, naming what was looked for and the fix.
Result<std::filesystem::path> find_idx(const std::filesystem::path& folder, const std::string& stem);

/// The header, read from the first bytes, and the length held against it: from the file's size, or from gzip's trailer
/// (a broken middle of a gzipped file is found by read_idx). Errors: invalid, naming the file.
Result<IdxHeader> read_idx_header(const std::filesystem::path& file, IdxKind kind);

/// Unpacks the values into `out`, of header.values() bytes. Blocks. Errors: invalid, naming the file (changed since its header was
/// read, cut short, too long, gzip's checksum wrong).
Status read_idx(const std::filesystem::path& file, const IdxHeader& header, Bytes out);

}  // namespace cohaul::data
