#pragma once
// `cohaul bench WHAT …`: hands over to the program of that bench.

#include <string>
#include <vector>

#include "cohaul/base/status.h"

namespace cohaul::cli {

/// Becomes cohaul-bench-WHAT (underscores and all), which lies beside this executable, with `arguments`; returns only
/// where it cannot. Errors: invalid (no such bench; names those that are there).
Status run_bench(const std::string& what, const std::vector<std::string>& arguments);

}  // namespace cohaul::cli
