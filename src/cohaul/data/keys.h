#pragma once
// The keys data.*. The command, which links no LibTorch, compiles this folder's keys.cpp too, so neither file includes LibTorch.

#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/config/config.h"
#include "cohaul/config/schema.h"

namespace cohaul::data {

std::vector<config::KeySpec> data_keys();

/// Returns whether the path is not a folder but a prefix of file names, in a folder with several data sets, as EMNIST's: "emnist/emnist-balanced".
bool is_of_several(const std::string& path);

/// Returns invalid where data.path is missing and the data set has no default folder.
Status check_data(const config::Config& job);

}  // namespace cohaul::data
