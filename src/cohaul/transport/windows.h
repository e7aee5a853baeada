#pragma once
// Windows: maps a file of shared memory as far as it is used. Window 0 is its first bytes; each further one is as
// long as all before it together. What lies in one window is in one piece; nothing may lie in two.

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <optional>

#include "cohaul/base/bytes.h"
#include "cohaul/base/limits.h"
#include "cohaul/base/mutex.h"
#include "cohaul/base/status.h"
#include "cohaul/transport/descriptor.h"

namespace cohaul::transport {

/// Owns the mappings. Any thread. A window that is mapped stays. It needs no descriptor, except where the system cannot map memory once more without
/// one, as qemu-user cannot: there it keeps one of its own.
class Windows {
 public:
  /// Maps window 0, of `first` bytes. first: a multiple of the page, or all of the file's `size`. Errors: internal; corrupt where first is none of these.
  static Result<std::shared_ptr<Windows>> map(int fd, std::uint64_t size, std::uint64_t first, int protection);
  ~Windows();
  Windows(const Windows&) = delete;

  bool keeps_descriptor() const { return kept_.valid(); }
  std::uint64_t size() const { return size_; }
  std::uint64_t first() const { return first_; }
  Bytes front() const { return {at_[0].load(std::memory_order_relaxed), first_}; }
  /// Returns where the window that holds `offset` ends.
  std::uint64_t end_of(std::uint64_t offset) const { return std::min(size_, first_ << index_of(offset)); }
  /// Returns the first place in [from, until) that holds `length` bytes in one window.
  std::optional<std::uint64_t> find_place(std::uint64_t from, std::uint64_t until, std::uint64_t length) const;
  /// Returns the bytes at a place; the first call for a window maps it. corrupt: outside the file, or in two windows.
  /// internal: no address space.
  Result<Bytes> at(std::uint64_t offset, std::uint64_t length);
  /// Returns where in the file the bytes lie.
  std::optional<std::uint64_t> offset_of(ConstBytes bytes) const;

 private:
  Windows(std::uint64_t size, std::uint64_t first, int protection, std::byte* front, Descriptor kept)
      : size_(size), first_(first), protection_(protection), kept_(std::move(kept)) {
    at_[0] = front;
  }
  std::size_t index_of(std::uint64_t offset) const { return std::bit_width(offset / first_); }
  std::uint64_t begin_of(std::size_t window) const { return window == 0 ? 0 : first_ << (window - 1); }
  std::uint64_t bytes_of(std::size_t window) const { return end_of(begin_of(window)) - begin_of(window); }
  Status map_window(std::size_t window);
  /// Returns the window's address, or MAP_FAILED with errno.
  void* map_from_file(std::size_t window) const;
  void* map_from_window_before(std::size_t window) const;

  const std::uint64_t size_, first_;
  const int protection_;
  const Descriptor kept_;  // not valid where it needs none
  Mutex mutex_;            // held while a window is mapped
  std::atomic<std::byte*> at_[kWindowsMax]{};
  std::atomic<std::size_t> most_{1};  // no window from here on is mapped
};

}  // namespace cohaul::transport
