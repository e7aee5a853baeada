#include "cohaul/checkpoint/safetensors.h"

#include <algorithm>
#include <utility>

#include "cohaul/checkpoint/file.h"
#include "cohaul/checkpoint/header.h"

namespace cohaul::checkpoint {

const TensorView* TensorFile::find(std::string_view name) const {
  const auto it = std::ranges::find(tensors_, name, &TensorView::name);
  return it == tensors_.end() ? nullptr : &*it;
}

Result<TensorFile> parse(ConstBytes file) {
  Reader reader(file);
  const auto length = reader.get<std::uint64_t>();
  if (!reader.ok()) return invalid("not a safetensors file: shorter than 8 bytes");
  if (length > kHeaderBytesMax || length > reader.left())
    return invalid("not a safetensors file, or cut short: its header would have " + std::to_string(length) + " bytes");
  const ConstBytes text = reader.raw(length);
  COHAUL_ASSIGN(Header header,
                parse_header({reinterpret_cast<const char*>(text.data()), text.size()}, reader.raw(reader.left())));
  TensorFile out;
  out.tensors_ = std::move(header.tensors);
  out.metadata_ = std::move(header.metadata);
  return out;
}

Result<TensorFile> read(const std::string& path) {
  COHAUL_ASSIGN(MappedFile mapped, map_file(path));
  Result<TensorFile> file = parse(mapped.bytes).context(path);
  if (file.ok()) file->mapping_ = std::move(mapped.mapping);
  return file;
}

Status write(const std::string& path, std::span<const TensorView> tensors, const Metadata& metadata) {
  Result<std::string> header = make_header(tensors, metadata);
  if (!header.ok()) return header.status().context(path);
  const std::uint64_t length = header->size();
  std::vector<ConstBytes> parts{as_bytes(std::span(&length, 1)), as_bytes(std::string_view(*header))};
  for (const TensorView& t : tensors) parts.push_back(t.data);
  return write_file(path, parts);
}

}  // namespace cohaul::checkpoint
