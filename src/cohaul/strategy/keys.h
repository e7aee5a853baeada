#pragma once
// The keys strategy.*. This header and its source know nothing of LibTorch: the command compiles them without it.

#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/config/config.h"
#include "cohaul/config/schema.h"
#include "cohaul/strategy/strategy.h"

namespace cohaul::strategy {

std::vector<config::KeySpec> strategy_keys();

/// Whether the strategy has the settings that it needs, and can have so many workers. Errors: invalid.
Status check_strategy(const config::Config& job);

/// Reads it from a resolved job.
Strategy strategy_of(const config::Config& job);

}  // namespace cohaul::strategy
