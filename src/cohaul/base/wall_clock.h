#pragma once
// The time of day, for what people read; deadlines and durations go by steady_clock().

#include "cohaul/base/clock.h"

namespace cohaul {

/// CLOCK_REALTIME: time since 1970. It may be set, also backwards. Any thread.
const Clock& wall_clock();

}  // namespace cohaul
