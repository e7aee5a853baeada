#pragma once
// The number of slices of a step's batch.

#include "cohaul/base/status.h"

namespace cohaul::strategy {

/// Returns `asked`, or the number of workers where that is 0. Errors: invalid, if it is less than the number of workers or too large.
Result<int> slices_for(int asked, int workers);

}  // namespace cohaul::strategy
