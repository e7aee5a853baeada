#pragma once
// A new folder for this user alone, which is removed with its object.

#include <string>
#include <string_view>

#include "cohaul/base/status.h"

namespace cohaul {

class TemporaryFolder {
 public:
  TemporaryFolder() = default;  // none
  /// Makes a folder below the system's one for temporary files, named after `purpose`. Errors: invalid (naming where,
  /// and why not).
  static Result<TemporaryFolder> make(std::string_view purpose);
  TemporaryFolder(TemporaryFolder&& other) noexcept;
  TemporaryFolder& operator=(TemporaryFolder&& other) noexcept;
  /// Removes it with all that is in it.
  ~TemporaryFolder();

  /// Empty where there is none.
  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  /// Leaves the folder where it is: it is not removed.
  void keep() { path_.clear(); }

 private:
  std::string path_;
};

}  // namespace cohaul
