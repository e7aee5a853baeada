#pragma once
// The keys strategy.*. The command, which links no LibTorch, compiles this folder's keys.cpp too, so neither file includes LibTorch.

#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/config/config.h"
#include "cohaul/config/schema.h"
#include "cohaul/strategy/strategy.h"

namespace cohaul::strategy {

std::vector<config::KeySpec> strategy_keys();

/// Returns invalid where the strategy lacks a setting that it needs, or does not allow so many workers.
Status check_strategy(const config::Config& job);

/// Returns the strategy of a resolved job.
Strategy strategy_of(const config::Config& job);

}  // namespace cohaul::strategy
