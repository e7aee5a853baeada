#include "cohaul/checkpoint/export.h"

#include <cstring>
#include <filesystem>

#include "cohaul/checkpoint/folder.h"
#include "cohaul/checkpoint/state_file.h"

namespace cohaul::checkpoint {
namespace {

std::uint64_t elements_of(const ParameterEntry& p) {
  std::uint64_t n = 1;
  for (const std::int64_t size : p.shape) n *= static_cast<std::uint64_t>(size);
  return n;
}

/// Returns the elements in row-major order, out of the order of memory.
std::vector<std::byte> row_major(const ParameterEntry& p, ConstBytes memory) {
  const std::size_t size = size_of(p.dtype), dims = p.shape.size();
  std::vector<std::byte> out(memory.size());
  std::vector<std::int64_t> index(dims, 0);
  for (std::size_t to = 0; to < out.size(); to += size) {
    std::int64_t from = 0;
    for (std::size_t d = 0; d < dims; ++d) from += index[d] * p.strides[d];
    std::memcpy(out.data() + to, memory.data() + static_cast<std::size_t>(from) * size, size);
    for (std::size_t d = dims; d-- > 0;) {
      if (++index[d] < p.shape[d]) break;
      index[d] = 0;
    }
  }
  return out;
}

/// Returns whether every element has a place of its own among as many, so that row_major() reads within them.
bool is_dense(const ParameterEntry& p) {
  if (p.strides.size() != p.shape.size()) return false;
  std::uint64_t last = 0;
  for (std::size_t d = 0; d < p.shape.size(); ++d) {
    if (p.shape[d] < 0 || p.strides[d] < 0) return false;
    if (p.shape[d] == 0) return true;
    last += static_cast<std::uint64_t>(p.shape[d] - 1) * static_cast<std::uint64_t>(p.strides[d]);
  }
  return last + 1 == elements_of(p);
}

}  // namespace

Status export_parameters(const std::string& checkpoint, const Manifest& manifest, const std::string& file) {
  COHAUL_ASSIGN(const SavedState saved, SavedState::open(checkpoint));
  std::vector<std::vector<std::byte>> kept;
  std::vector<TensorView> tensors;
  for (const ParameterEntry& p : manifest.parameters) {
    if (!is_dense(p)) return invalid(checkpoint + ": the strides of parameter " + p.name + " make no sense");
    std::vector<std::byte> memory(elements_of(p) * size_of(p.dtype));
    COHAUL_TRY(saved.read_values(p.name, p.dtype, 0, memory));
    kept.push_back(row_major(p, memory));
    tensors.push_back({p.name, p.dtype == DType::float32 ? TensorType::f32 : TensorType::f64, p.shape, kept.back()});
  }
  TensorFile buffers;
  if (const std::string path = checkpoint + "/" + kBuffersName; std::filesystem::exists(path)) {
    COHAUL_ASSIGN(buffers, read(path));
    tensors.insert(tensors.end(), buffers.tensors().begin(), buffers.tensors().end());
  }
  return write(file, tensors, {{"format", "pt"}});
}

}  // namespace cohaul::checkpoint
