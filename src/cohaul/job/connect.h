#pragma once
// Channels between members of a job, found through its store.

#include <memory>
#include <string>
#include <vector>

#include "cohaul/job/job.h"
#include "cohaul/transport/channel.h"
#include "cohaul/transport/poller.h"

namespace cohaul::job {

/// Connects to every other worker of a conversation. Returns the channels by rank (own: null), all added to `poller`.
/// Lower ranks listen, higher ones connect. Blocks until all are there, or `deadline`; fails at once when a worker
/// that is missing has left the job (invalid). model: both ends must agree (0: unknown). among: the conversation's
/// workers, this one too, ascending; the same at each of them. Empty: all of the job.
Result<std::vector<std::unique_ptr<transport::Channel>>> connect_workers(Job& job, transport::Poller& poller,
                                                                         const std::string& purpose,
                                                                         std::uint64_t model, Time deadline,
                                                                         std::vector<int> among = {});

}  // namespace cohaul::job
