#pragma once
// A new folder for this user alone, which goes with its owner.

#include <string>
#include <string_view>

#include "cohaul/base/status.h"

namespace cohaul {

class TemporaryFolder {
 public:
  TemporaryFolder() = default;  // none
  /// Below the system's folder for such things, named after `purpose`. Errors: invalid (naming where, and why not).
  static Result<TemporaryFolder> make(std::string_view purpose);
  TemporaryFolder(TemporaryFolder&& other) noexcept;
  TemporaryFolder& operator=(TemporaryFolder&& other) noexcept;
  /// Removes it with all that is in it.
  ~TemporaryFolder();

  /// Empty: none.
  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }
  /// Whoever comes afterwards finds it where it is.
  void keep() { path_.clear(); }

 private:
  std::string path_;
};

}  // namespace cohaul
