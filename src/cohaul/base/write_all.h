#pragma once
// Writing to a descriptor until all is written.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "cohaul/base/bytes.h"

namespace cohaul {

/// Blocks until all bytes are written. Returns 0, or the errno of the write that failed.
inline int write_all(int fd, ConstBytes bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return 0;
}

/// Opens a file to write at its end, as open() does. Where the path is a named pipe without a reader, what is written is dropped.
inline int open_at_end(const char* path, int flags, mode_t mode) {
  flags |= O_WRONLY | O_APPEND | O_CLOEXEC;
  struct stat found {};
  if (::stat(path, &found) != 0 || !S_ISFIFO(found.st_mode)) return ::open(path, flags, mode);
  const int fd = ::open(path, flags | O_NONBLOCK);  // without O_NONBLOCK it would wait for a reader
  if (fd < 0) return errno == ENXIO ? ::open("/dev/null", O_WRONLY | O_CLOEXEC) : fd;
  ::fcntl(fd, F_SETFL, O_APPEND);
  return fd;
}

}  // namespace cohaul
