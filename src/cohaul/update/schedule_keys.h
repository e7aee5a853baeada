#pragma once
// The keys schedule.*.

#include <cstdint>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/config/config.h"
#include "cohaul/config/schema.h"
#include "cohaul/update/schedule.h"

namespace cohaul::update {

std::vector<config::KeySpec> schedule_keys();

/// Checks that the schedule has what it needs. Errors: invalid.
Status check_schedule(const config::Config& job);

/// Reads the schedule from a resolved job. updates: of the run; a schedule whose length is not set ends with it.
/// Errors: invalid, naming the key.
Result<Schedule> schedule_of(const config::Config& job, std::int64_t updates);

}  // namespace cohaul::update
