#pragma once
// All keys of a job.

#include "cohaul/config/schema.h"

namespace cohaul::cli {

/// Returns the folders' keys, in the order in which `cohaul keys` and the README list them. own_program: as in model_keys().
config::Schema job_schema(bool own_program);

}  // namespace cohaul::cli
