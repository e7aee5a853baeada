#pragma once
// The keys data.*. This header and its source know nothing of LibTorch: the command compiles them without it.

#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/config/config.h"
#include "cohaul/config/schema.h"

namespace cohaul::data {

std::vector<config::KeySpec> data_keys();

/// Whether the path is what stands in front of the names of one set's files, of several in a folder (EMNIST): "emnist/emnist-balanced".
bool is_of_several(const std::string& path);

/// Whether data.path is set where the data set has no folder of its own. Errors: invalid.
Status check_data(const config::Config& job);

}  // namespace cohaul::data
