#pragma once
// What a bug report tells of the environment.

#include "cohaul/job/engines/place.h"

namespace cohaul::job {

/// Returns the variables that Cohaul, its engines, OpenMP and the dynamic linker read. The value of a secret is "(set)".
Variables told_variables(const Variables& all);
/// Those of this process.
Variables told_variables();

}  // namespace cohaul::job
