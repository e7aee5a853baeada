#pragma once
// Gradients are born where peers read them: a CPU allocator for LibTorch on an arena. Blocks of 64 KiB and more come from the arena and go back to
// it, where they are merged and used again, so that after the first steps nothing faults a page; smaller ones stay with LibTorch's own allocator, as
// do those for which there is no address space.

#include <cstdint>

#include "cohaul/base/status.h"
#include "cohaul/transport/arena.h"

namespace cohaul::gradient {

/// Installs it as LibTorch's CPU allocator for the rest of the process, once; a second call returns the same arena. Tensors
/// outlive everything in LibTorch, so neither allocator nor arena is ever destroyed. Any thread may allocate and free afterwards.
/// Errors: internal.
Result<const transport::Arena*> install_arena_allocator();

/// Bytes of the arena: those in use, and those that cost memory.
struct ArenaUse {
  std::uint64_t live = 0, touched = 0;
};

/// Zero before install.
ArenaUse arena_use();

/// What is free in the arena goes back to the system. Any thread.
void give_back_free_memory();

}  // namespace cohaul::gradient
