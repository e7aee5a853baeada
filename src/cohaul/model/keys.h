#pragma once
// The keys model.*. The command, which links no LibTorch, compiles this folder's keys.cpp too, so neither file includes LibTorch.

#include <vector>

#include "cohaul/config/config.h"
#include "cohaul/config/schema.h"
#include "cohaul/model/settings.h"

namespace cohaul::model {

/// Returns the descriptions of the keys. own_program: the worker is the user's own program, whose models may read any whole number in model.*; the
/// sizes of the zoo's models are left out.
std::vector<config::KeySpec> model_keys(bool own_program);

/// Fills in the default sizes, which differ from model to model.
void fill_model(config::Config& job, const config::Schema& schema);

/// Reads name, sizes and seed from a resolved job.
ModelSettings settings_of(const config::Config& job);

}  // namespace cohaul::model
