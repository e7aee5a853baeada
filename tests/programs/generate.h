#pragma once
// Random programs, and smaller versions of a program that fails.

#include <rapidcheck.h>

#include "program.h"

namespace cohaul::programs {

/// Returns a generator of programs. Every feature is in more than a tenth of them, every pair of features in more than a hundredth; smaller versions
/// have fewer.
rc::Gen<Program> programs();
/// Returns the program of a seed, with its smaller versions. The same on every machine.
rc::Shrinkable<Program> program_of(std::uint64_t seed);

/// Turns any combination of choices into a program that PyTorch accepts and whose outcome does not depend on which process computes which slice.
Program mend(Program program);

}  // namespace cohaul::programs
