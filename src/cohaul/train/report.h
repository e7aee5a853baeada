#pragma once
// Figures of a training, for events.

#include "cohaul/observe/event.h"
#include "cohaul/strategy/engine.h"

namespace cohaul::train {

/// Adds `staleness_mean`, `staleness_max` and `gap_max`.
void add_asynchrony(observe::Event& event, const strategy::Asynchrony& asynchrony);

}  // namespace cohaul::train
