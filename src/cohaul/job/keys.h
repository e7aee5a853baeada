#pragma once
// The keys job.*.

#include <vector>

#include "cohaul/config/config.h"
#include "cohaul/config/schema.h"
#include "cohaul/job/launcher.h"

namespace cohaul::job {

std::vector<config::KeySpec> job_keys();

/// Checks the keys of addresses, ports and certificates together. invalid, naming place, key and fix.
Status check_processes(const config::Config& job);

/// Reads the launch options from a resolved job. The caller adds commands and the number of servers.
LaunchOptions launch_options_of(const config::Config& job);

}  // namespace cohaul::job
