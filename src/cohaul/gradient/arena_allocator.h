#pragma once
// A CPU allocator for LibTorch that places tensors in an arena, so that other processes of the host can read gradients where autograd has put them.
// Blocks of 64 KiB and more come from the arena. Freed blocks are merged and used again, so there are no page faults after the first steps. Smaller
// blocks, and those for which the arena has no address space left, come from LibTorch's own allocator.

#include <cstdint>

#include "cohaul/base/status.h"
#include "cohaul/transport/arena.h"

namespace cohaul::gradient {

/// Installs it as LibTorch's CPU allocator until the process ends, and returns its arena; later calls return the same arena. Neither is ever
/// destroyed, because LibTorch may keep tensors until the end. Afterwards any thread may allocate and free.
/// Errors: internal.
Result<const transport::Arena*> install_arena_allocator();

/// Bytes of the arena: `live` are in use, `touched` take up memory.
struct ArenaUse {
  std::uint64_t live = 0, touched = 0;
};

/// Returns zeros before the allocator is installed.
ArenaUse arena_use();

/// Returns the arena's free memory to the system. Any thread may call it.
void give_back_free_memory();

}  // namespace cohaul::gradient
