#pragma once
// The keys of a job.

#include <vector>

#include "cohaul/config/schema.h"

namespace cohaul::config {

/// All keys. own_program: the worker is the user's own, whose models take whatever whole numbers model.* they like: the zoo's sizes
/// are left out.
std::vector<KeySpec> job_keys(bool own_program);

}  // namespace cohaul::config
