#pragma once
// For tests: counts what is allocated with new. Link the target test_allocations.

namespace cohaul::testing_tools {

/// By the calling thread so far.
long allocations();

}  // namespace cohaul::testing_tools
