#pragma once
// The agent of a host: runs the crew of this host for a launcher on another.

#include "cohaul/transport/descriptor.h"

namespace cohaul::job {

/// Does what the launcher says over `in`, and tells over `out` what becomes of it. Blocks until the launcher closes
/// or is silent for too long; then it ends all of the job's processes here. Returns the exit code.
int run_agent(transport::Descriptor in, transport::Descriptor out);

}  // namespace cohaul::job
