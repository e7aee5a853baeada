#pragma once
// Files of named tensors in the format safetensors (github.com/huggingface/safetensors): 8 bytes little-endian length
// of the header, the header (JSON: name → {dtype, shape, data_offsets}), the tensors' bytes one after the other.
// Python's `safetensors` reads what is written here, and the other way round.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/limits.h"
#include "cohaul/base/status.h"

namespace cohaul::checkpoint {

enum class TensorType : std::uint8_t { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean };
std::string_view name(TensorType type);  // as in the file: "F32", "BOOL"
std::size_t size_of(TensorType type);    // bytes of an element

/// A tensor that does not own its bytes (contiguous, row-major, little-endian).
struct TensorView {
  std::string name;
  TensorType type = TensorType::f32;
  std::vector<std::int64_t> shape;
  ConstBytes data;
};

using Metadata = std::map<std::string, std::string>;

/// The content of a file; owns the bytes that its views point into. Data may start at any byte, so copy it to where
/// it is used. Move-only. Any thread may read.
class TensorFile {
 public:
  std::span<const TensorView> tensors() const { return tensors_; }  // in the order of their data
  const TensorView* find(std::string_view name) const;              // null: none
  const Metadata& metadata() const { return metadata_; }

 private:
  friend Result<TensorFile> read(const std::string& path);
  friend Result<TensorFile> parse(ConstBytes file);
  std::shared_ptr<const void> mapping_;
  std::vector<TensorView> tensors_;
  Metadata metadata_;
};

/// Reads a file. Checks every length, offset and product before it is used. Nothing may truncate the file while it is
/// read (write() never truncates one that it replaces). Errors: invalid (naming the file: cannot be opened, not a
/// regular file, or its content and what is wrong with it).
Result<TensorFile> read(const std::string& path);

/// Reads a file's bytes from memory, which must outlive the result.
Result<TensorFile> parse(ConstBytes file);

/// Writes all or nothing: into a temporary file beside `path`, which takes its name once it is safe on the disk. An
/// existing file is replaced. Blocks until then. Errors: invalid (naming the file and the reason: the folder is
/// missing or cannot be written, disk full; also a repeated name, or data whose length is not its shape's).
Status write(const std::string& path, std::span<const TensorView> tensors, const Metadata& metadata = {});

}  // namespace cohaul::checkpoint
