#include "cohaul/cli/handover.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace cohaul::cli {

Handover::Handover(int fd) : fd_(fd), path_("/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd)) {}

Handover::Handover(Handover&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

Handover::~Handover() {
  if (fd_ >= 0) ::close(fd_);
}

void Handover::keep_for_exec() const { ::fcntl(fd_, F_SETFD, 0); }

Result<Handover> Handover::of(const std::string& text) {
  const int fd = memfd_create("cohaul-job", MFD_CLOEXEC);
  if (fd < 0) return system_error("make room for the resolved job", errno);
  Handover handover(fd);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno != EINTR) return system_error("write the resolved job", errno);
    if (n > 0) done += static_cast<std::size_t>(n);
  }
  return handover;
}

}  // namespace cohaul::cli
