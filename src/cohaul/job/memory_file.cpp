#include "cohaul/job/memory_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "cohaul/base/write_all.h"

namespace cohaul::job {

MemoryFile::MemoryFile(int fd) : fd_(fd), path_("/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd)) {}

MemoryFile::MemoryFile(MemoryFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

MemoryFile::~MemoryFile() {
  if (fd_ >= 0) ::close(fd_);
}

void MemoryFile::keep_for_exec() const { ::fcntl(fd_, F_SETFD, 0); }

Result<MemoryFile> MemoryFile::of(const std::string& text) {
  const int fd = memfd_create("cohaul", MFD_CLOEXEC);
  if (fd < 0) return system_error("make a file in memory", errno);
  MemoryFile file(fd);
  if (::fchmod(fd, S_IRUSR | S_IWUSR) != 0) return system_error("make a file in memory private", errno);
  if (const int error = write_all(fd, as_bytes(std::string_view(text))))
    return system_error("write a file in memory", error);
  return file;
}

}  // namespace cohaul::job
