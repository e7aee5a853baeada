#pragma once
// Arena: memory that the processes of a job on one host share (memfd, sealed against shrinking). A page costs memory once touched, and address
// space once its window is mapped (windows.h). Gradients and parameters live in arenas, so that only addresses travel.

#include <cstdint>
#include <memory>
#include <string>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/transport/windows.h"

namespace cohaul::transport {

/// Names an arena. Its maker draws it at random, so that it is unique on a host for the life of a job.
using ArenaId = std::uint64_t;
constexpr ArenaId kNoArena = 0;

/// A span of bytes by address. It may be foreign, so it is resolved (bounds-checked) against a mapped arena before
/// use.
struct Region {
  ArenaId arena = kNoArena;
  std::uint64_t offset = 0, length = 0;
};

enum class Access : std::uint8_t { read, write };

/// Owns mappings, and one file descriptor until close_descriptor(). Move-only. The descriptor is closed when it is
/// destroyed; the memory is unmapped when, besides, no channel that it was lent to is left. Spans into it must not
/// outlive it.
class Arena {
 public:
  /// Makes one that is mapped whole. Errors: internal (no memory, no descriptors, a limit).
  static Result<Arena> create(std::string_view name, std::size_t bytes);
  /// Makes a large one that is mapped as it is used, its first window at once. It is smaller where the process may
  /// not have files so large (ulimit -f).
  static Result<Arena> create_in_windows(std::string_view name, std::uint64_t bytes, std::size_t first_window);
  /// Maps another process's arena. first_window: as that process has it; 0: mapped whole. Takes ownership of `fd`.
  /// Errors: corrupt (it is not sealed against shrinking).
  static Result<Arena> map(ArenaId id, int fd, Access access, std::uint64_t first_window = 0);

  Arena() = default;
  Arena(Arena&&) noexcept;
  Arena& operator=(Arena&&) noexcept;
  ~Arena();

  ArenaId id() const { return id_; }
  int fd() const { return fd_; }
  /// Closes the descriptor: the arena can be lent no more. What is mapped stays.
  void close_descriptor();
  /// Returns the first window, which is all of one that is mapped whole. Writable only where created, or mapped with
  /// Access::write.
  Bytes bytes() const { return windows_ ? windows_->front() : Bytes(); }
  /// Null where it has no bytes.
  const std::shared_ptr<Windows>& windows() const { return windows_; }
  /// Returns the bytes of a region. Errors: corrupt (out of bounds, offset + length overflowing included, or of
  /// another arena).
  Result<ConstBytes> resolve(const Region& region) const;
  /// Returns where `span` lies; kNoArena when it is not wholly inside.
  Region region_of(ConstBytes span) const;

 private:
  static Result<Arena> make(std::string_view name, std::uint64_t bytes, std::uint64_t first);
  ArenaId id_ = kNoArena;
  int fd_ = -1;
  std::shared_ptr<Windows> windows_;
};

}  // namespace cohaul::transport
