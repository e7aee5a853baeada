// Arbitrary bytes as a safetensors file: they are refused, or read with every view inside the file.

#include <cstdlib>

#include "cohaul/checkpoint/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const cohaul::ConstBytes file(reinterpret_cast<const std::byte*>(data), size);
  const auto result = cohaul::checkpoint::parse(file);
  if (!result.ok()) return 0;
  for (const auto& tensor : result->tensors()) {
    const std::byte* begin = tensor.data.data();
    if (!tensor.data.empty() && (begin < file.data() || begin + tensor.data.size() > file.data() + size)) std::abort();
  }
  return 0;
}
