#pragma once
// Who computes which slices of a step.

#include "cohaul/base/status.h"
#include "cohaul/update/exchange.h"

namespace cohaul::strategy {

/// The slices of a step that worker `rank` of `workers` computes. Errors: invalid: slices that workers can't share.
Result<update::SliceRange> share_slices(int slices, int rank, int workers);

}  // namespace cohaul::strategy
