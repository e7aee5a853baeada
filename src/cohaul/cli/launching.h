#pragma once
// The processes of a job, from this host, until all have ended.

#include "cohaul/cli/failure.h"
#include "cohaul/job/launcher.h"

namespace cohaul::cli {

/// Blocks until every process has ended; warnings go to stderr. The first failure decides: nothing where all went well. stopped: whether it was a signal, after a checkpoint.
Outcome launch_and_wait(job::LaunchOptions options, bool* stopped = nullptr);

}  // namespace cohaul::cli
