#pragma once
// Launches a job's processes and waits until all have ended.

#include "cohaul/cli/failure.h"
#include "cohaul/job/launcher.h"

namespace cohaul::cli {

/// Blocks until every process has ended. Returns the first failure, or nothing where all went well. Warnings are written to stderr. stopped: set to
/// whether a signal ended the job after a checkpoint.
Outcome launch_and_wait(job::LaunchOptions options, bool* stopped = nullptr);

}  // namespace cohaul::cli
