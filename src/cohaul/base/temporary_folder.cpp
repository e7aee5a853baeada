#include "cohaul/base/temporary_folder.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

namespace cohaul {

Result<TemporaryFolder> TemporaryFolder::make(std::string_view purpose) {
  std::error_code error;
  TemporaryFolder out;
  out.path_ = (std::filesystem::temp_directory_path(error) / (std::string(purpose) + "-XXXXXX")).string();
  if (!error && ::mkdtemp(out.path_.data()) != nullptr) return out;
  Status why = invalid("cannot make a temporary folder (" + out.path_ +
                       "): " + (error ? error.message() : std::string(std::strerror(errno))));
  out.keep();
  return why;
}

TemporaryFolder::TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}

TemporaryFolder& TemporaryFolder::operator=(TemporaryFolder&& other) noexcept {
  std::swap(path_, other.path_);
  return *this;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace cohaul
