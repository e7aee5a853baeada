#include "cohaul/checkpoint/image.h"

#include <algorithm>
#include <cstring>
#include <sstream>
#include <utility>

#include "cohaul/base/hash.h"
#include "cohaul/checkpoint/file.h"
#include "cohaul/checkpoint/header.h"

namespace cohaul::checkpoint {

// "+" and lines "name bytes hash", or "!" and the reason.
constexpr char kWritten = '+', kNotWritten = '!';

std::shared_ptr<std::byte[]> ImageMemory::take(std::size_t bytes) {
  Block block;
  {
    const MutexLock lock(spare_->mutex);
    std::vector<Block>& blocks = spare_->blocks;  // the smallest first
    auto it = std::ranges::lower_bound(blocks, bytes, {}, &Block::size);
    if (it != blocks.end()) block = std::move(*it);
    else if (!blocks.empty()) --it;  // the largest is too small: a larger one takes its place
    if (it != blocks.end()) blocks.erase(it);
  }
  if (!block.data) block = {std::unique_ptr<std::byte[]>(new std::byte[bytes]), bytes};  // not set to zero first
  std::byte* const data = block.data.release();
  return {data, [spare = spare_, size = block.size](std::byte* p) {
            Block back{std::unique_ptr<std::byte[]>(p), size};
            const MutexLock lock(spare->mutex);
            const auto at = std::ranges::lower_bound(spare->blocks, size, {}, &Block::size);
            spare->blocks.insert(at, std::move(back));
          }};
}

Result<FileImage> make_image(ImageMemory& memory, std::string name, std::span<const TensorView> tensors,
                             const Metadata& metadata) {
  Result<std::string> header = make_header(tensors, metadata);
  if (!header.ok()) return header.status().context(name);
  const std::uint64_t length = header->size();
  FileImage image{.name = std::move(name), .size = sizeof length + length};
  for (const TensorView& t : tensors) image.size += t.data.size();
  image.data = memory.take(image.size);
  std::byte* to = image.data.get();
  const auto append = [&to](ConstBytes bytes) {
    if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
    to += bytes.size();
  };
  append(as_bytes(std::span(&length, 1)));
  append(as_bytes(std::string_view(*header)));
  for (const TensorView& t : tensors) append(t.data);
  return image;
}

Result<std::vector<FileEntry>> write_images(const std::string& folder, std::span<const FileImage> images) {
  std::vector<FileEntry> out;
  for (const FileImage& image : images) {
    const ConstBytes bytes = image.bytes();
    COHAUL_TRY(write_file(folder + "/" + image.name, {&bytes, 1}));
    out.push_back({image.name, bytes.size(), hash128(bytes)});
  }
  return out;
}

std::string text_of(const Result<std::vector<FileEntry>>& written) {
  if (!written.ok()) return kNotWritten + written.status().message();
  std::string out(1, kWritten);
  for (const FileEntry& f : *written) out += f.name + " " + std::to_string(f.bytes) + " " + f.hash + "\n";
  return out;
}

Result<std::vector<FileEntry>> files_of(const std::string& text) {
  if (!text.starts_with(kWritten)) return invalid(text.substr(text.starts_with(kNotWritten) ? 1 : 0));
  std::vector<FileEntry> out;
  std::istringstream in(text.substr(1));
  for (FileEntry f; in >> f.name >> f.bytes >> f.hash;) out.push_back(f);
  return out;
}

}  // namespace cohaul::checkpoint
