#pragma once
// A job's optimizer and schedule, from its keys.

#include <cstdint>

#include "cohaul/config/config.h"
#include "cohaul/train/optimizer.h"

namespace cohaul::cli {

/// samples: of the training set, from which the number of updates follows where the job counts in epochs. A schedule whose length is not set ends
/// with the run. Errors: invalid, naming the key.
Result<train::Optimizer> optimizer_of(const config::Config& job, std::int64_t samples);

}  // namespace cohaul::cli
