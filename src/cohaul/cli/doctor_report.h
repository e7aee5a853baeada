#pragma once
// The report of `cohaul doctor`, as JSON and as text.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "cohaul/cli/core_distance.h"
#include "cohaul/cli/diagnosis.h"
#include "cohaul/cli/last_run.h"
#include "cohaul/cli/machine.h"
#include "cohaul/job/engines/place.h"

namespace cohaul::cli {

struct Examination {
  Machine machine{};
  Network network{};
  std::vector<CorePair> core_distances{};
  std::string worker_path{};
  WorkerAnswer worker{};
  job::Variables environment{};
  LastRun last_failed_run{};
  std::vector<Finding> findings{};
};

nlohmann::ordered_json json_of(const Examination& examination);

/// A heading for each of the report's parts, a line for each value, and at the end what is wrong.
std::string text_of(const Examination& examination);

}  // namespace cohaul::cli
