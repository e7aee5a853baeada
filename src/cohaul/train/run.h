#pragma once
// The frame of a program's main.

#include <functional>

#include "cohaul/job/job.h"
#include "cohaul/strategy/workers.h"

namespace cohaul::train {

/// Joins the job that the environment describes (alone, if it describes none), sets LibTorch's threads to cores ÷ workers of the host,
/// calls body, says goodbye. An Error (or any exception) is one line on stderr and an exit code: 2 the user's mistake, 3 somebody was lost, 1
/// anything else. After a SIGTERM or SIGINT in a loop with checkpoints: 143 or 130 (Stopped).
int run(const std::function<void(job::Job&)>& body);

/// Joins by hand, as inside an MPI solver. Throws Error. End with job->close().
std::unique_ptr<job::Job> join(const job::JoinOptions& options);

/// All workers of the job, connected to each other, for layers that talk to each other (SyncBatchNorm): its group(). All call it with the same purpose,
/// which no other call has. Blocks until all are connected, at most job.join_timeout_s. Throws Error. `job` outlives it.
std::unique_ptr<strategy::Workers> connect_workers(job::Job& job, const std::string& purpose);

/// One line on stderr, and the exit code of the error now being handled. Tells torchrun and the job, so that others learn the reason; closes it after Stopped. told:
/// called with both.
int report_exception(job::Job* job, const std::function<void(int exit_code, const std::string& message)>& told = {});

}  // namespace cohaul::train
