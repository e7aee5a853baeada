#pragma once
// Reads IDX files, plain or gzipped. The content decides which it is, not the name.

#include <filesystem>

#include "cohaul/data/idx_format.h"

namespace cohaul::data {

/// Returns the file `stem` ("train-images-idx3-ubyte") or `stem`.gz in `folder`. Errors: invalid, naming what was looked for and the fix.
Result<std::filesystem::path> find_idx(const std::filesystem::path& folder, const std::string& stem);

/// Returns the header, after comparing it with the length of the file or, if it is gzipped, with the length in gzip's trailer. Damage in the middle
/// of a gzipped file is found only by read_idx(). Errors: invalid, naming the file.
Result<IdxHeader> read_idx_header(const std::filesystem::path& file, IdxKind kind);

/// Unpacks the values into `out`, which has header.values() bytes. Blocks. Errors: invalid, naming the file (it has changed since its header was
/// read, is cut short or too long, or gzip's checksum is wrong).
Status read_idx(const std::filesystem::path& file, const IdxHeader& header, Bytes out);

}  // namespace cohaul::data
