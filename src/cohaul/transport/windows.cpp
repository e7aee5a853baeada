#include "cohaul/transport/windows.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace cohaul::transport {
namespace {

std::uint64_t page_bytes() {
  static const auto bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

Status not_mapped(std::uint64_t bytes, int error) {
  return system_error("map " + std::to_string(bytes) + " bytes of shared memory", error);
}

/// Returns whether mremap() with an old size of 0 maps the same memory once more.
bool maps_once_more() {
  static const bool does = [] {
    const std::uint64_t page = page_bytes();
    void* const first = ::mmap(nullptr, page, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (first == MAP_FAILED) return true;
    void* const second = ::mremap(first, 0, page, MREMAP_MAYMOVE);
    ::munmap(first, page);
    if (second != MAP_FAILED) ::munmap(second, page);
    return second != MAP_FAILED;
  }();
  return does;
}

}  // namespace

Result<std::shared_ptr<Windows>> Windows::map(int fd, std::uint64_t size, std::uint64_t first, int protection) {
  const bool fits = first == size || (first > 0 && first < size && first % page_bytes() == 0);
  if (!fits || size == 0 || size >> 62 != 0 || std::bit_width(size / first) >= static_cast<int>(kWindowsMax))
    return corrupt("shared memory of " + std::to_string(size) + " bytes with a first window of " +
                   std::to_string(first));
  Descriptor kept;
  if (first < size && !maps_once_more()) {
    kept = Descriptor(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!kept.valid()) return system_error("keep a descriptor of shared memory", errno);
  }
  void* front = ::mmap(nullptr, first, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (front == MAP_FAILED) return not_mapped(first, errno);
  return std::shared_ptr<Windows>(
      new Windows(size, first, protection, static_cast<std::byte*>(front), std::move(kept)));
}

Windows::~Windows() {
  for (std::size_t w = 0; w < most_; ++w)
    if (std::byte* at = at_[w]) ::munmap(at, bytes_of(w));
}

std::optional<std::uint64_t> Windows::find_place(std::uint64_t from, std::uint64_t until, std::uint64_t length) const {
  while (length <= until && from <= until - length) {
    const std::uint64_t end = end_of(from);
    if (length <= end - from) return from;
    if (end >= size_) break;
    from = end;
  }
  return std::nullopt;
}

Result<Bytes> Windows::at(std::uint64_t offset, std::uint64_t length) {
  if (length > size_ || offset > size_ - length)
    return corrupt("an address is out of its arena's bounds: offset " + std::to_string(offset) + ", length " +
                   std::to_string(length) + ", arena of " + std::to_string(size_) + " bytes");
  // An empty span at the very end lies in the last window.
  const std::size_t window = index_of(offset == size_ && offset > 0 ? offset - 1 : offset);
  const std::uint64_t begin = begin_of(window);
  if (offset + length > end_of(begin)) return corrupt("an address lies in two windows of its arena");
  if (at_[window].load(std::memory_order_acquire) == nullptr) COHAUL_TRY(map_window(window));
  return Bytes(at_[window].load(std::memory_order_acquire) + (offset - begin), length);
}

void* Windows::map_from_file(std::size_t window) const {
  return ::mmap(nullptr, bytes_of(window), protection_, MAP_SHARED | MAP_NORESERVE, kept_.get(),
                static_cast<off_t>(begin_of(window)));
}

// With an old size of 0, mremap() maps the same file once more from that address on, and needs no descriptor. The new
// mapping starts with the last page of the nearest window before; all up to the wanted window is unmapped again.
void* Windows::map_from_window_before(std::size_t window) const {
  std::size_t before = window - 1;
  while (at_[before].load() == nullptr) --before;
  const std::uint64_t page = page_bytes(), start = end_of(begin_of(before)) - page;
  const std::uint64_t skipped = begin_of(window) - start, bytes = skipped + bytes_of(window);
  std::byte* const last_page = at_[before].load() + bytes_of(before) - page;
  void* const mapped = ::mremap(last_page, 0, bytes, MREMAP_MAYMOVE);
  if (mapped == MAP_FAILED) return MAP_FAILED;
  ::munmap(mapped, skipped);
  return static_cast<std::byte*>(mapped) + skipped;
}

Status Windows::map_window(std::size_t window) {
  const MutexLock lock(mutex_);
  if (at_[window].load() != nullptr) return {};
  void* const mapped = kept_.valid() ? map_from_file(window) : map_from_window_before(window);
  if (mapped == MAP_FAILED) return not_mapped(bytes_of(window), errno);
  at_[window].store(static_cast<std::byte*>(mapped), std::memory_order_release);
  if (window >= most_.load()) most_.store(window + 1);
  return {};
}

std::optional<std::uint64_t> Windows::offset_of(ConstBytes bytes) const {
  const auto at = reinterpret_cast<std::uintptr_t>(bytes.data());
  for (std::size_t w = 0, most = most_.load(std::memory_order_acquire); w < most; ++w) {
    const auto base = reinterpret_cast<std::uintptr_t>(at_[w].load(std::memory_order_acquire));
    const std::uint64_t size = bytes_of(w);
    if (base != 0 && at >= base && at - base <= size && bytes.size() <= size - (at - base))
      return begin_of(w) + at - base;
  }
  return std::nullopt;
}

}  // namespace cohaul::transport
