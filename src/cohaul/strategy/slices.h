#pragma once
// How many slices a step's batch is cut into.

#include "cohaul/base/status.h"

namespace cohaul::strategy {

/// `asked`, or one a worker where that is 0. Errors: invalid: fewer than workers, more than can be.
Result<int> slices_for(int asked, int workers);

}  // namespace cohaul::strategy
