#pragma once
// Options of a training, read from a resolved job.

#include <cstdint>

#include "cohaul/base/status.h"
#include "cohaul/config/config.h"
#include "cohaul/train/optimizer.h"
#include "cohaul/train/trainer.h"

namespace cohaul::train {

/// Reads slices, buffers, seed and averages. The caller adds where events go, and over which group layers are split.
TrainerOptions trainer_options_of(const config::Config& job);

/// Reads the loop over a training set of so many samples, in updates. Where evaluation.every is above 0, the caller adds set and metrics.
/// Errors: as resolve()'s (sample_loop.h).
Result<FitOptions> fit_options_of(const config::Config& job, std::int64_t samples);

/// Reads the rule with its schedule and groups. updates: of the run; a schedule whose length is not set ends with it. Errors: invalid, naming the key.
Result<Optimizer> optimizer_of(const config::Config& job, std::int64_t updates);

}  // namespace cohaul::train
