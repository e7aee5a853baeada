#pragma once
// The keys model.*. This header and its source know nothing of LibTorch: the command compiles them without it.

#include <vector>

#include "cohaul/config/config.h"
#include "cohaul/config/schema.h"
#include "cohaul/model/settings.h"

namespace cohaul::model {

/// Returns their descriptions. own_program: the worker is the user's own, whose models take whatever whole numbers model.* they like; the zoo's
/// sizes are left out.
std::vector<config::KeySpec> model_keys(bool own_program);

/// Fills in the sizes whose defaults are each model's own.
void fill_model(config::Config& job, const config::Schema& schema);

/// Reads name, sizes and seed from a resolved job.
ModelSettings settings_of(const config::Config& job);

}  // namespace cohaul::model
