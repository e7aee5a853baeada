#include "cohaul/transport/arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace cohaul::transport {
namespace {

constexpr std::uint64_t kPage = 64 << 10;  // a multiple of every system's

ArenaId draw_id() {
  ArenaId id = kNoArena;
  while (id == kNoArena) {
    if (getrandom(&id, sizeof id, 0) != static_cast<ssize_t>(sizeof id)) id = kNoArena;
  }
  return id;
}

Result<int> make_file(const std::string& what, std::string_view name, std::uint64_t bytes) {
  const std::string label = "cohaul-" + std::string(name.substr(0, 64));
  const int fd = memfd_create(label.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return system_error(what + ": memfd_create", errno);
  Status made;
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) made = system_error(what + ": ftruncate", errno);
  else if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    made = system_error(what + ": seal", errno);
  if (made.ok()) return fd;
  close(fd);
  return made;
}

std::string described(std::string_view name, std::uint64_t bytes) {
  return "arena '" + std::string(name) + "' of " + std::to_string(bytes) + " bytes";
}

}  // namespace

Result<Arena> Arena::create(std::string_view name, std::size_t bytes) { return make(name, bytes, bytes); }

Result<Arena> Arena::create_in_windows(std::string_view name, std::uint64_t bytes, std::size_t first_window) {
  rlimit file{};
  if (getrlimit(RLIMIT_FSIZE, &file) == 0 && file.rlim_cur < bytes)
    bytes = std::max<std::uint64_t>(file.rlim_cur / kPage * kPage, kPage);
  return make(name, bytes, std::min<std::uint64_t>(bytes, first_window));
}

Result<Arena> Arena::make(std::string_view name, std::uint64_t bytes, std::uint64_t first) {
  const std::string what = described(name, bytes);
  Arena arena;
  COHAUL_ASSIGN(arena.fd_, make_file(what, name, bytes));
  if (bytes > 0) {
    COHAUL_ASSIGN(arena.windows_, Windows::map(arena.fd_, bytes, first, PROT_READ | PROT_WRITE).context(what));
  }
  arena.id_ = draw_id();
  return arena;
}

Result<Arena> Arena::map(ArenaId id, int fd, Access access, std::uint64_t first_window) {
  Arena arena;
  arena.fd_ = fd;
  int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return corrupt("an arena from another process is not sealed against shrinking");
  }
  struct stat info {};
  if (fstat(fd, &info) != 0) return system_error("arena from another process: fstat", errno);
  if (id == kNoArena) return corrupt("an arena from another process has no id");
  const auto bytes = static_cast<std::uint64_t>(info.st_size);
  if (bytes > 0) {
    const int protection = access == Access::write ? PROT_READ | PROT_WRITE : PROT_READ;
    COHAUL_ASSIGN(arena.windows_, Windows::map(fd, bytes, first_window == 0 ? bytes : first_window, protection)
                                      .context("arena from another process"));
  }
  arena.id_ = id;
  return arena;
}

Arena::Arena(Arena&& other) noexcept
    : id_(std::exchange(other.id_, kNoArena)), fd_(std::exchange(other.fd_, -1)), windows_(std::move(other.windows_)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  Arena taken(std::move(other));
  std::swap(id_, taken.id_);
  std::swap(fd_, taken.fd_);
  std::swap(windows_, taken.windows_);
  return *this;
}

Arena::~Arena() { close_descriptor(); }

void Arena::close_descriptor() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Result<ConstBytes> Arena::resolve(const Region& region) const {
  if (region.arena != id_ || id_ == kNoArena) return corrupt("an address names another arena");
  if (!windows_)
    return region.length + region.offset == 0 ? Result<ConstBytes>(ConstBytes())
                                              : corrupt("an address is out of its arena's bounds: it has no bytes");
  COHAUL_ASSIGN(const Bytes found, windows_->at(region.offset, region.length));
  return ConstBytes(found);
}

Region Arena::region_of(ConstBytes span) const {
  const auto offset = windows_ ? windows_->offset_of(span) : std::nullopt;
  return offset ? Region{id_, *offset, span.size()} : Region{};
}

}  // namespace cohaul::transport
