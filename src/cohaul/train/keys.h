#pragma once
// The keys train.*. The command, which links no LibTorch, compiles this folder's keys.cpp too, so neither file includes LibTorch.

#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/config/config.h"
#include "cohaul/config/schema.h"

namespace cohaul::train {

std::vector<config::KeySpec> train_keys();

// Checks of several keys together. The job has its strategy and its defaults already. Errors: invalid, naming place, key and fix.

/// Checks that exactly one key says how long to train.
Status check_length(const config::Config& job);
/// Checks that checkpoints, evaluations and watched gradients have the keys that they need.
Status check_run(const config::Config& job);
/// Checks that each slice has at least one sample, and that each worker has a slice where the strategy needs it.
Status check_slices(const config::Config& job);

}  // namespace cohaul::train
