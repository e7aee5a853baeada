#pragma once
// Options of a training, read from a resolved job.

#include <cstdint>

#include "cohaul/base/status.h"
#include "cohaul/config/config.h"
#include "cohaul/train/optimizer.h"
#include "cohaul/train/trainer.h"

namespace cohaul::train {

/// Returns slices, buffers, seed and the decay of averages. The caller adds the sink, and the group over which layers are split.
TrainerOptions trainer_options_of(const config::Config& job);

/// Returns the options of the loop over a training set of so many samples, with its length in updates. Where evaluation.every is above 0, the caller
/// adds the test set and metrics. Errors: those of resolve() (sample_loop.h).
Result<FitOptions> fit_options_of(const config::Config& job, std::int64_t samples);

/// Returns the rule with its schedule and groups. updates: of the whole run; a schedule without a length of its own ends with it. Errors: invalid,
/// naming the key.
Result<Optimizer> optimizer_of(const config::Config& job, std::int64_t updates);

}  // namespace cohaul::train
