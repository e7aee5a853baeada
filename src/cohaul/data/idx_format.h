#pragma once
// The IDX format, in which MNIST and its kin are published: a pure decoder of its bytes.
//
//   0, 0, type, n     type 0x08 = unsigned bytes (all that is read here); n = number of dimensions
//   n × uint32        their sizes, big-endian
//   values            row-major, exactly the product of the sizes

#include <array>
#include <cstdint>
#include <string>

#include "cohaul/base/bytes.h"
#include "cohaul/base/limits.h"
#include "cohaul/base/status.h"

namespace cohaul::data {

/// What a file contains, by its number of dimensions: labels [count] or images [count, rows, columns].
enum class IdxKind : int { labels = 1, images = 3 };
constexpr std::size_t header_bytes(IdxKind kind) { return 4 + 4 * static_cast<std::size_t>(kind); }
constexpr const char* name(IdxKind kind) { return kind == IdxKind::labels ? "labels" : "images"; }

struct IdxHeader {
  IdxKind kind;
  std::uint32_t count = 0, rows = 1, columns = 1;
  std::uint64_t values() const { return std::uint64_t{count} * rows * columns; }
  std::uint64_t file_bytes() const { return header_bytes(kind) + values(); }
};

struct IdxFile {
  IdxHeader header;
  ConstBytes values;  // a view of the decoded bytes
};

/// Returns the header. `start` has at least header_bytes(kind) bytes, or is the whole file. Errors: invalid, without the file's name, which the
/// caller adds.
inline Result<IdxHeader> decode_idx_header(ConstBytes start, IdxKind kind) {
  auto byte = [&](std::size_t i) { return std::to_integer<std::uint32_t>(start[i]); };
  auto size = [&](std::size_t i) {
    return byte(4 + 4 * i) << 24 | byte(5 + 4 * i) << 16 | byte(6 + 4 * i) << 8 | byte(7 + 4 * i);
  };
  if (start.size() < 4) {
    return invalid("is cut short: " + std::to_string(start.size()) +
                   " bytes, not even the 4 of IDX's magic number; fetch it again");
  }
  if (byte(0) != 0 || byte(1) != 0) {
    return invalid("is no IDX file: it starts with the bytes " + std::to_string(byte(0)) + " " +
                   std::to_string(byte(1)) + ", not 0 0; give the file as published, plain or gzipped");
  }
  if (byte(2) != 0x08) {
    return invalid("holds values of IDX type " + std::to_string(byte(2)) +
                   "; only 8 (unsigned bytes) is read: convert it");
  }
  if (byte(3) != static_cast<std::uint32_t>(kind)) {
    return invalid("has " + std::to_string(byte(3)) + " dimensions, and IDX " + name(kind) + " have " +
                   std::to_string(static_cast<int>(kind)) + "; were images and labels swapped?");
  }
  if (start.size() < header_bytes(kind)) {
    return invalid("is cut short: " + std::to_string(start.size()) + " bytes, and the header alone has " +
                   std::to_string(header_bytes(kind)) + "; fetch it again");
  }
  IdxHeader header{.kind = kind, .count = size(0)};
  if (kind == IdxKind::images) {
    header.rows = size(1);
    header.columns = size(2);
  }
  // Implausible sizes are refused before sizes are multiplied, so that the product fits 64 bits.
  if (header.count == 0 || header.rows == 0 || header.columns == 0 || header.rows > kSideMax ||
      header.columns > kSideMax) {
    return invalid("says that it holds " + std::to_string(header.count) + " " + name(kind) + " of " +
                   std::to_string(header.rows) + "×" + std::to_string(header.columns) +
                   "; need at least one, of sides 1 to " + std::to_string(kSideMax) + ": it is broken, fetch it again");
  }
  return header;
}

/// Returns ok if a file of `bytes` bytes (unpacked) has the length that the header asks for. Errors: invalid.
inline Status check_idx_length(const IdxHeader& header, std::uint64_t bytes) {
  if (bytes == header.file_bytes()) return {};
  return invalid((bytes < header.file_bytes() ? "is cut short: " : "is too long: ") + std::to_string(bytes) +
                 " bytes, and its " + std::to_string(header.count) + " " + name(header.kind) + " need " +
                 std::to_string(header.file_bytes()) + "; fetch it again");
}

/// Returns ok if every label is one of `classes`. Errors: invalid.
inline Status check_labels(ConstBytes labels, int classes) {
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (int label = std::to_integer<int>(labels[i]); label >= classes) {
      return invalid("label " + std::to_string(label) + " at position " + std::to_string(i) + " is not one of the " +
                     std::to_string(classes) + " classes 0 to " + std::to_string(classes - 1) + "; mend the file");
    }
  }
  return {};
}

/// Decodes a whole file. The result is a view of `file`. Errors: invalid.
inline Result<IdxFile> decode_idx(ConstBytes file, IdxKind kind) {
  COHAUL_ASSIGN(IdxHeader header, decode_idx_header(file, kind));
  COHAUL_TRY(check_idx_length(header, file.size()));
  return IdxFile{header, file.subspan(header_bytes(kind))};
}

}  // namespace cohaul::data
