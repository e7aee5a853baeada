#pragma once
// Conditions of keys (KeySpec::only): whether a job reads a key, and what follows.

#include <string_view>

#include "cohaul/base/status.h"
#include "cohaul/config/config.h"
#include "cohaul/config/schema.h"

namespace cohaul::config {

/// Returns whether spec's condition holds in `job`.
bool is_read(const Config& job, const KeySpec& spec);

/// Gives a key its default, where the schema has the key, the job reads it and it has no value yet.
void fill_default(Config& job, const Schema& schema, std::string_view key, Value value);

/// Refuses a key that the user set but that the other keys leave unread (strategy.servers under all_reduce). Errors: invalid.
Status check_unread(const Config& job, const KeySpec& spec);

}  // namespace cohaul::config
