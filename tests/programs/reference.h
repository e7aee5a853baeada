#pragma once
// The reference: torch::optim in one process, on the same slices, their gradients added in the same tree.

#include "outcome.h"
#include "program.h"

namespace cohaul::programs {

/// Throws what LibTorch throws, for a program that it does not accept. Not by two threads at once: LibTorch's generator is one.
Outcome run_reference(const Program& program);

/// The seed of worker 0's parameters, and of another worker's, which do not count.
std::uint64_t init_seed(const Program& program, int worker);

}  // namespace cohaul::programs
