#include "cohaul/transport/arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace cohaul::transport {
namespace {

ArenaId draw_id() {
  ArenaId id = kNoArena;
  while (id == kNoArena) {
    if (getrandom(&id, sizeof id, 0) != static_cast<ssize_t>(sizeof id)) id = kNoArena;
  }
  return id;
}

}  // namespace

Result<Arena> Arena::create(std::string_view name, std::size_t bytes) {
  std::string label = "cohaul-" + std::string(name.substr(0, 64));
  std::string what = "arena '" + std::string(name) + "' of " + std::to_string(bytes) + " bytes";
  Arena arena;
  arena.fd_ = memfd_create(label.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (arena.fd_ < 0) return system_error(what + ": memfd_create", errno);
  if (ftruncate(arena.fd_, static_cast<off_t>(bytes)) != 0) return system_error(what + ": ftruncate", errno);
  if (fcntl(arena.fd_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return system_error(what + ": seal", errno);
  }
  if (bytes > 0) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, arena.fd_, 0);
    if (at == MAP_FAILED) return system_error(what + ": mmap", errno);
    arena.data_ = static_cast<std::byte*>(at);
  }
  arena.size_ = bytes;
  arena.id_ = draw_id();
  return arena;
}

Result<Arena> Arena::map(ArenaId id, int fd, Access access) {
  Arena arena;
  arena.fd_ = fd;
  int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return corrupt("an arena from another process is not sealed against shrinking");
  }
  struct stat info {};
  if (fstat(fd, &info) != 0) return system_error("arena from another process: fstat", errno);
  if (id == kNoArena) return corrupt("an arena from another process has no id");
  auto bytes = static_cast<std::size_t>(info.st_size);
  if (bytes > 0) {
    int protection = access == Access::write ? PROT_READ | PROT_WRITE : PROT_READ;
    void* at = mmap(nullptr, bytes, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (at == MAP_FAILED) return system_error("arena from another process: mmap", errno);
    arena.data_ = static_cast<std::byte*>(at);
  }
  arena.size_ = bytes;
  arena.id_ = id;
  return arena;
}

Arena::Arena(Arena&& other) noexcept
    : id_(std::exchange(other.id_, kNoArena)),
      fd_(std::exchange(other.fd_, -1)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  Arena taken(std::move(other));
  std::swap(id_, taken.id_);
  std::swap(fd_, taken.fd_);
  std::swap(data_, taken.data_);
  std::swap(size_, taken.size_);
  return *this;
}

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, size_);
  close_descriptor();
}

void Arena::close_descriptor() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Result<ConstBytes> Arena::resolve(const Region& region) const {
  if (region.arena != id_ || id_ == kNoArena) return corrupt("an address names another arena");
  if (region.length > size_ || region.offset > size_ - region.length) {
    return corrupt("an address is out of its arena's bounds: offset " + std::to_string(region.offset) + ", length " +
                   std::to_string(region.length) + ", arena of " + std::to_string(size_) + " bytes");
  }
  return ConstBytes(data_ + region.offset, region.length);
}

Region Arena::region_of(ConstBytes span) const {
  auto base = reinterpret_cast<std::uintptr_t>(data_), at = reinterpret_cast<std::uintptr_t>(span.data());
  if (data_ == nullptr || at < base || at - base > size_ || span.size() > size_ - (at - base)) return {};
  return {id_, at - base, span.size()};
}

}  // namespace cohaul::transport
