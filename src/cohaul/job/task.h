#pragma once
// Turns a task of an engine into a worker or a server of the job.

#include <cstdint>
#include <optional>

#include "cohaul/job/engines/place.h"
#include "cohaul/job/launcher.h"

namespace cohaul::job {

/// Checks that --workers, where it was given, is the number of tasks that are not servers. Errors: invalid.
Status expect_workers(const Place& place, std::optional<std::int64_t> workers, int servers);

/// Replaces this process's program by that of the place's role, with the options' environment: the last `servers` tasks become servers, the others
/// workers. Where there are logs, all but worker 0 write into theirs. Returns only where it fails: invalid, naming what is wrong.
Status become_member(const LaunchOptions& options, const Place& place);

}  // namespace cohaul::job
