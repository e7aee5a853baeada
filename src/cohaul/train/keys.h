#pragma once
// The keys train.*. This header and its source know nothing of LibTorch: the command compiles them without it.

#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/config/config.h"
#include "cohaul/config/schema.h"

namespace cohaul::train {

std::vector<config::KeySpec> train_keys();

// What only several keys together can say. The job has its strategy and its defaults. Errors: invalid, naming place, key and fix.

/// Whether the job says how long to train, and says it once.
Status check_length(const config::Config& job);
/// Whether checkpoints, evaluations and watched gradients have what they need.
Status check_run(const config::Config& job);
/// Whether each slice has a sample, and each worker a slice where it needs one.
Status check_slices(const config::Config& job);

}  // namespace cohaul::train
