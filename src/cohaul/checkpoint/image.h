#pragma once
// Files in memory: copies that training cannot change any more, so that they can be written while it goes on.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/mutex.h"
#include "cohaul/base/status.h"
#include "cohaul/checkpoint/manifest.h"
#include "cohaul/checkpoint/safetensors.h"

namespace cohaul::checkpoint {

/// Keeps the memory of images that are gone for the next ones, since the first write to new memory takes longer than
/// the copy. It keeps no more than was in use at one time. Images may outlive it. Any thread.
class ImageMemory {
 public:
  /// Returns at least so many bytes, with any content. They come back when the last pointer to them is gone.
  std::shared_ptr<std::byte[]> take(std::size_t bytes);

 private:
  struct Block {
    std::unique_ptr<std::byte[]> data;
    std::size_t size = 0;
  };
  struct Spare {
    Mutex mutex;
    std::vector<Block> blocks COHAUL_GUARDED_BY(mutex);
  };
  std::shared_ptr<Spare> spare_ = std::make_shared<Spare>();
};

/// A file's name in its folder, and its content.
struct FileImage {
  std::string name;
  std::shared_ptr<std::byte[]> data{};
  std::size_t size = 0;
  ConstBytes bytes() const { return {data.get(), size}; }
};

/// Makes in memory the file that write() would write of the tensors. Errors: as write()'s, but for those of the disk.
Result<FileImage> make_image(ImageMemory& memory, std::string name, std::span<const TensorView> tensors,
                             const Metadata& metadata = {});

/// Writes the images into a folder. Blocks until they are on the disk. Errors: invalid, naming the file and the reason. Any thread.
Result<std::vector<FileEntry>> write_images(const std::string& folder, std::span<const FileImage> images);

/// Turns what an owner has written, or why it could not, into text for the job's store, and back.
std::string text_of(const Result<std::vector<FileEntry>>& written);
Result<std::vector<FileEntry>> files_of(const std::string& text);

}  // namespace cohaul::checkpoint
