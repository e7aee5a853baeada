#pragma once
// `cohaul bench WHAT …`: replaces this process by a benchmark's program.

#include <string>
#include <vector>

#include "cohaul/base/status.h"

namespace cohaul::cli {

/// Executes cohaul-bench-WHAT with `arguments`, from this executable's folder. Returns only where that fails. Errors: invalid (there is no such
/// benchmark; the message lists those that exist).
Status run_bench(const std::string& what, const std::vector<std::string>& arguments);

}  // namespace cohaul::cli
