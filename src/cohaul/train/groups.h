#pragma once
// Which group of the optimizer a parameter belongs to.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/train/optimizer.h"

namespace cohaul::train {

/// Returns the group of each parameter: 0 where no pattern matches one of its names, g + 1 where groups[g] is the first group with a match. names:
/// for each parameter, all names that it has. Errors: invalid, naming a pattern that matches no name.
Result<std::vector<std::int32_t>> assign_groups(std::span<const std::vector<std::string>> names,
                                                std::span<const ParameterGroup> groups);

}  // namespace cohaul::train
