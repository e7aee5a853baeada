#include "cohaul/checkpoint/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include "cohaul/base/clock.h"
#include "cohaul/checkpoint/file.h"

namespace cohaul::checkpoint {

Result<FolderLock> FolderLock::take(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return invalid(folder + ": cannot be made: " + error.message());
  const std::string path = folder + "/.lock";
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) return invalid(path + ": cannot be opened: " + std::strerror(errno));
  FolderLock lock(folder, file);
  if (::flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {  // another error: a file system without locks
    char holder[24] = {};
    const ssize_t n = ::pread(file, holder, sizeof holder - 1, 0);
    const std::string process(holder, std::strcspn(holder, " "));
    return unavailable(folder + ": another job writes its checkpoints into this folder" +
                       (n > 0 ? " (process " + process + ")" : std::string()) +
                       ": give each job a folder of its own, or wait until it has ended");
  }
  char host[256] = {};
  (void)::gethostname(host, sizeof host - 1);
  const std::string mark = std::to_string(::getpid()) + " " + host + " " + std::to_string(steady_clock().now());
  const bool written =
      ::ftruncate(file, 0) == 0 && ::pwrite(file, mark.data(), mark.size(), 0) == static_cast<ssize_t>(mark.size());
  // Other hosts must see it now. A failure is ignored here: a full disk is reported with each checkpoint.
  if (written && ::fsync(file) == 0) lock.mark_ = mark;
  return lock;
}

Status expect_shared(const std::string& folder, const std::string& mark) {
  const Result<MappedFile> file = map_file(folder + "/.lock");
  const auto* text = file.ok() ? reinterpret_cast<const char*>(file->bytes.data()) : nullptr;
  if (file.ok() && mark == std::string_view(text, file->bytes.size())) return {};
  return invalid(folder + ": this process sees another folder there than worker 0, which writes checkpoints into it" +
                 (file.ok() ? std::string() : " (" + file.status().message() + ")") +
                 ": all hosts of a job need one folder that they share, and all workers the same path");
}

FolderLock::~FolderLock() {
  if (file_ >= 0) ::close(file_);
}

FolderLock::FolderLock(FolderLock&& other) noexcept
    : folder_(std::move(other.folder_)), mark_(std::move(other.mark_)), file_(std::exchange(other.file_, -1)) {}

FolderLock& FolderLock::operator=(FolderLock&& other) noexcept {
  std::swap(folder_, other.folder_);
  std::swap(mark_, other.mark_);
  std::swap(file_, other.file_);
  return *this;
}

}  // namespace cohaul::checkpoint
