#pragma once
// Arena: memory that the processes of a job on one host share (memfd, sealed against shrinking). Sparse: its size is address
// space; a page costs memory once touched. Gradients and parameters live in arenas, so that only addresses travel.

#include <cstdint>
#include <memory>
#include <string>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"

namespace cohaul::transport {

/// Unique on a host for the life of a job: random, chosen by the maker.
using ArenaId = std::uint64_t;
constexpr ArenaId kNoArena = 0;

/// A span of bytes by address. Foreign until resolved (bounds-checked) against a mapped arena.
struct Region {
  ArenaId arena = kNoArena;
  std::uint64_t offset = 0, length = 0;
};

enum class Access : std::uint8_t { read, write };

/// Owns one mapping, and one file descriptor until close_descriptor(). Move-only; unmaps and closes when destroyed. Spans into it die with it.
class Arena {
 public:
  /// Errors: internal (no memory, no descriptors).
  static Result<Arena> create(std::string_view name, std::size_t bytes);
  /// Maps another process's. Takes ownership of `fd`. Refuses (corrupt) one that is not sealed against shrinking.
  static Result<Arena> map(ArenaId id, int fd, Access access);

  Arena() = default;
  Arena(Arena&&) noexcept;
  Arena& operator=(Arena&&) noexcept;
  ~Arena();

  ArenaId id() const { return id_; }
  int fd() const { return fd_; }
  /// From now on it can be lent no more; what is mapped stays.
  void close_descriptor();
  /// Writable only where created, or mapped with Access::write.
  Bytes bytes() const { return {data_, size_}; }
  /// `corrupt` when out of bounds (offset + length overflowing included) or of another arena.
  Result<ConstBytes> resolve(const Region& region) const;
  /// kNoArena when `span` is not wholly inside.
  Region region_of(ConstBytes span) const;

 private:
  ArenaId id_ = kNoArena;
  int fd_ = -1;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace cohaul::transport
