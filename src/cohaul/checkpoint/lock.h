#pragma once
// A lock, so that one job at a time writes into a folder of checkpoints.

#include <string>

#include "cohaul/base/status.h"

namespace cohaul::checkpoint {

/// Holds the lock until it is destroyed, or its process ends in any way. Move-only.
class FolderLock {
 public:
  /// Makes the folder, and locks it. unavailable: another job holds it; it names the process. invalid: the folder
  /// cannot be made or written.
  static Result<FolderLock> take(const std::string& folder);
  ~FolderLock();
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&& other) noexcept;

  const std::string& folder() const { return folder_; }
  /// Returns the text in the lock's file. No other lock has the same.
  const std::string& mark() const { return mark_; }

 private:
  FolderLock(std::string folder, int file) : folder_(std::move(folder)), file_(file) {}
  std::string folder_, mark_;
  int file_;
};

/// Checks that the folder which this process sees is the one that is locked with the mark. Errors: invalid, naming
/// the folder and the fix.
Status expect_shared(const std::string& folder, const std::string& mark);

}  // namespace cohaul::checkpoint
