#include "cohaul/ps/arena_memory.h"

#include <algorithm>

#include "cohaul/base/align.h"

namespace cohaul::ps {

Status ArenaMemory::reserve(std::size_t bytes) {
  COHAUL_ASSIGN(arena_, transport::Arena::create("cohaul-server", std::max<std::size_t>(bytes, 1)));
  return {};
}

Bytes ArenaMemory::allocate(std::size_t bytes) {
  std::size_t rounded = aligned(bytes);
  if (rounded > arena_.bytes().size() - used_) return {};
  Bytes piece = arena_.bytes().subspan(used_, bytes);
  used_ += rounded;
  return piece;
}

}  // namespace cohaul::ps
