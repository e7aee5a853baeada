#pragma once
// Random programs, and smaller ones of a program that fails.

#include <rapidcheck.h>

#include "program.h"

namespace cohaul::programs {

/// Every feature stands in more than a tenth of them, every pair in more than a hundredth; the smaller ones have fewer.
rc::Gen<Program> programs();
/// The program of a seed, with all that is smaller. The same on every machine.
rc::Shrinkable<Program> program_of(std::uint64_t seed);

/// Makes any combination of choices a program that PyTorch accepts and whose outcome does not depend on who computes which slice.
Program mend(Program program);

}  // namespace cohaul::programs
