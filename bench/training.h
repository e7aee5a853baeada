#pragma once
// Runs of `cohaul train` that a benchmark measures.

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cohaul/base/status.h"

namespace cohaul::bench {

/// The lines of the record of a run of jobs/MODEL.toml. sets: KEY=VALUE. Blocks until it has ended. Errors: internal, with what it said.
Result<std::vector<nlohmann::json>> train(const std::string& model, int workers, const std::vector<std::string>& sets);
/// The lines of one kind.
std::vector<nlohmann::json> lines_of(const std::vector<nlohmann::json>& record, const std::string& kind);

/// With `digits` after the point.
inline std::string fixed(double v, int digits) {
  char out[64];
  std::snprintf(out, sizeof out, "%.*f", digits, v);
  return out;
}

}  // namespace cohaul::bench
