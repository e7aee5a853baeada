#pragma once
// A job's optimizer and schedule, from its keys.

#include <cstdint>

#include "cohaul/config/config.h"
#include "cohaul/train/optimizer.h"

namespace cohaul::cli {

/// updates: of the run. A schedule whose length is not set ends with it. Errors: invalid, naming the key.
Result<train::Optimizer> optimizer_of(const config::Config& job, std::int64_t updates);

}  // namespace cohaul::cli
