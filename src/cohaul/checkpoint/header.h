#pragma once
// The JSON header of a safetensors file, apart from the file.

#include <string>

#include "cohaul/checkpoint/safetensors.h"

namespace cohaul::checkpoint {

struct Header {
  std::vector<TensorView> tensors;  // in the order of their data, which covers `data` without gap or overlap
  Metadata metadata;
};

/// Reads a header. text: the header's; data: all that follows it in the file. Errors: invalid.
Result<Header> parse_header(std::string_view text, ConstBytes data);

/// Returns the header's text, padded with spaces, so that with the 8 bytes of length before it the data starts at a
/// multiple of 8. Errors: invalid (a repeated or reserved name, data whose length is not its shape's).
Result<std::string> make_header(std::span<const TensorView> tensors, const Metadata& metadata);

}  // namespace cohaul::checkpoint
