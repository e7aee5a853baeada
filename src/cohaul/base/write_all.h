#pragma once
// Writing to a descriptor until all is written.

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

}  // namespace cohaul
