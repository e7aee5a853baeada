#pragma once
// Memory for a server's parameters in an arena, from which workers of the same host can copy them directly.

#include "cohaul/ps/memory.h"
#include "cohaul/transport/arena.h"

namespace cohaul::ps {

class ArenaMemory final : public Memory {
 public:
  Status reserve(std::size_t bytes) override;
  Bytes allocate(std::size_t bytes) override;
  /// Returns the arena; it is empty (kNoArena) before reserve().
  const transport::Arena& arena() const { return arena_; }

 private:
  transport::Arena arena_;
  std::size_t used_ = 0;
};

}  // namespace cohaul::ps
