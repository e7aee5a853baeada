#pragma once
// The agent of a host: the crew of this host, for a launcher that is elsewhere.

#include "cohaul/transport/descriptor.h"

namespace cohaul::job {

/// Does what the launcher says over `in`, and tells over `out` what becomes of it. Blocks until the launcher closes, or is silent for too long; then
/// nothing of the job runs here any more. Returns the exit code.
int run_agent(transport::Descriptor in, transport::Descriptor out);

}  // namespace cohaul::job
