#pragma once
// For tests: counts what is allocated with new. Link the target test_allocations.

namespace cohaul::testing_tools {

/// Returns the number of allocations by the calling thread so far.
long allocations();

}  // namespace cohaul::testing_tools
