#pragma once
// One job at a time writes into a folder of checkpoints.

#include <string>

#include "cohaul/base/status.h"

namespace cohaul::checkpoint {

/// Holds the folder until it goes, or its process ends in any way. Move-only.
class FolderLock {
 public:
  /// Makes the folder. unavailable: another job holds it; it names the process. invalid: the folder cannot be made or written.
  static Result<FolderLock> take(const std::string& folder);
  ~FolderLock();
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&& other) noexcept;

  const std::string& folder() const { return folder_; }

 private:
  FolderLock(std::string folder, int file) : folder_(std::move(folder)), file_(file) {}
  std::string folder_;
  int file_;
};

}  // namespace cohaul::checkpoint
