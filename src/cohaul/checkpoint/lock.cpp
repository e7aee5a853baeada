#include "cohaul/checkpoint/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace cohaul::checkpoint {

Result<FolderLock> FolderLock::take(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return invalid(folder + ": cannot be made: " + error.message());
  const std::string path = folder + "/.lock";
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) return invalid(path + ": cannot be opened: " + std::strerror(errno));
  FolderLock lock(folder, file);
  if (::flock(file, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return lock;  // a file system without locks: as before there were any
    char holder[24] = {};
    const ssize_t n = ::pread(file, holder, sizeof holder - 1, 0);
    return unavailable(folder + ": another job writes its checkpoints into this folder" +
                       (n > 0 ? " (process " + std::string(holder) + ")" : std::string()) +
                       ": give each job a folder of its own, or wait until it has ended");
  }
  const std::string me = std::to_string(::getpid());
  if (::ftruncate(file, 0) == 0) (void)!::pwrite(file, me.data(), me.size(), 0);
  return lock;
}

FolderLock::~FolderLock() {
  if (file_ >= 0) ::close(file_);
}

FolderLock::FolderLock(FolderLock&& other) noexcept
    : folder_(std::move(other.folder_)), file_(std::exchange(other.file_, -1)) {}

FolderLock& FolderLock::operator=(FolderLock&& other) noexcept {
  std::swap(folder_, other.folder_);
  std::swap(file_, other.file_);
  return *this;
}

}  // namespace cohaul::checkpoint
