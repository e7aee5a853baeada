#pragma once
// What can be said about a job's keys only together.

#include "cohaul/base/status.h"
#include "cohaul/config/config.h"
#include "cohaul/config/schema.h"

namespace cohaul::config {

/// The user's contradictions among the keys that he set; `job` has its strategy chosen and its defaults filled in.
/// invalid, naming place, key and fix; the first found.
Status check_job(const Config& job, const Schema& schema);

/// A key that the user set but that the other keys leave unread (strategy.servers under all_reduce). invalid.
Status check_unread(const Config& job, const KeySpec& spec);

/// Whether spec's condition holds in `job`.
bool is_read(const Config& job, const KeySpec& spec);

}  // namespace cohaul::config
