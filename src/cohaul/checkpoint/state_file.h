#pragma once
// Files owner-….safetensors with what owners keep of a model: values, optimizer state, moving averages and counts of
// updates. A file holds pieces of parameters, so an owner of other pieces can read it.

#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/checkpoint/image.h"
#include "cohaul/checkpoint/manifest.h"
#include "cohaul/checkpoint/safetensors.h"
#include "cohaul/update/owner.h"

namespace cohaul::checkpoint {

/// Copies the pieces into a file's content.
Result<FileImage> state_image(ImageMemory& memory, std::string name, const update::Layout& layout,
                              std::span<const update::StatePiece> pieces);

/// The pieces of all owners of a checkpoint. Any thread may read.
class SavedState {
 public:
  /// Reads all owners' files of a checkpoint. Errors: invalid, naming the file.
  static Result<SavedState> open(const std::string& checkpoint);
  /// Adds a file. Errors: invalid, naming the file: unreadable, or with tensors that no state_image() has.
  Status add(const std::string& path);
  /// Reads a piece's values, state, count, and average if there is one. Errors: invalid, naming the parameter: elements that no file has, another type, or another number
  /// of states than the piece has.
  Status restore(const std::string& parameter, const update::StatePiece& piece) const {
    return read_piece(parameter, piece, true);
  }
  /// Reads the values of a parameter from element `first` on. Errors: as above.
  Status read_values(const std::string& parameter, DType dtype, std::uint64_t first, Bytes values) const;

 private:
  struct Saved {
    std::uint64_t first = 0, elements = 0;
    TensorType type = TensorType::f32;
    ConstBytes values;
    std::vector<ConstBytes> states{};
    ConstBytes average{};  // empty: none
    std::int64_t count = 0;
  };
  Status take(const TensorFile& file);
  Status read_piece(const std::string& parameter, const update::StatePiece& piece, bool with_state) const;
  std::vector<TensorFile> files_;
  std::unordered_map<std::string, std::vector<Saved>> pieces_;  // by parameter, ascending
};

/// Reads all pieces, with their state, out of a verified checkpoint's files. Errors: as SavedState's.
Status restore(const std::string& checkpoint, const update::Layout& layout, std::span<const update::StatePiece> pieces);

}  // namespace cohaul::checkpoint
