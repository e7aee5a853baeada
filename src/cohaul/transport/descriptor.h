#pragma once
// Descriptor: owns one file descriptor and closes it.

#include <unistd.h>

#include <utility>

namespace cohaul::transport {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  /// Gives the descriptor to the caller, which owns it from now on.
  int take() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

}  // namespace cohaul::transport
