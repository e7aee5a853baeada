#pragma once
// A text that a process hands to programs it starts: a file in memory, which leaves nothing behind however the process ends.

#include <string>

#include "cohaul/base/status.h"

namespace cohaul::job {

/// Owns the memory; processes of the same user can open its path while this lives, and others cannot.
class MemoryFile {
 public:
  static Result<MemoryFile> of(const std::string& text);
  MemoryFile(MemoryFile&& other) noexcept;
  MemoryFile& operator=(MemoryFile&&) = delete;
  ~MemoryFile();
  const std::string& path() const { return path_; }
  /// Lets the program that this process becomes by exec open the path, too.
  void keep_for_exec() const;

 private:
  explicit MemoryFile(int fd);
  int fd_;
  std::string path_;
};

}  // namespace cohaul::job
