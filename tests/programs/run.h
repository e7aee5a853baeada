#pragma once
// Runs a program under Cohaul, as a user would write it.

#include <string>

#include "cohaul/job/job.h"
#include "cohaul/strategy/strategy.h"
#include "outcome.h"
#include "program.h"

namespace cohaul::programs {

/// Runs the program. All workers of the job call it. folder: for files that the program saves. An error is the outcome's status.
Outcome run_program(job::Job& job, const Program& program, const strategy::Strategy& strategy,
                    const std::string& folder);

}  // namespace cohaul::programs
