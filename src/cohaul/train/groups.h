#pragma once
// Which group of the optimizer a parameter belongs to.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/train/optimizer.h"

namespace cohaul::train {

/// The group of each parameter: 0 where no pattern matches a name of it, g + 1 where groups[g] is the first that has one.
/// names: of each parameter, all that it has. Errors: invalid, naming a pattern that matches no name at all.
Result<std::vector<std::int32_t>> assign_groups(std::span<const std::vector<std::string>> names,
                                                std::span<const ParameterGroup> groups);

}  // namespace cohaul::train
