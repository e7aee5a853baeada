#pragma once
// Gradients are born where peers read them: a caching CPU allocator for LibTorch on an arena. Blocks of 64 KiB and more come
// from the arena and go back to a list of their size class, so that after the first step nothing faults a page; smaller
// ones stay with LibTorch's own allocator.

#include "cohaul/base/status.h"
#include "cohaul/transport/arena.h"

namespace cohaul::gradient {

/// Installs it as LibTorch's CPU allocator for the rest of the process, once; a second call returns the same arena. Tensors
/// outlive everything in LibTorch, so neither allocator nor arena is ever destroyed. Any thread may allocate and free afterwards.
/// Errors: internal.
Result<const transport::Arena*> install_arena_allocator();

/// Bytes of the arena handed out so far (high-water mark), for the report of memory. 0 before install.
std::size_t arena_bytes_used();

}  // namespace cohaul::gradient
