#pragma once
// The main function of a program that trains: joining the job, running the body, reporting errors.

#include <functional>
#include <memory>
#include <string>

#include "cohaul/job/job.h"

namespace cohaul::train {

/// Joins the job that the environment describes (a job of one worker if there is none), sets LibTorch's number of threads to cores ÷ workers of the
/// host, calls body, and leaves the job. Returns the program's exit code. An Error (or any other exception) becomes one line on stderr and an exit
/// code: 2 for a mistake of the user, 3 when a process was lost, 1 for anything else. After a SIGTERM or SIGINT in a loop with checkpoints it is 143
/// or 130 (Stopped).
int run(const std::function<void(job::Job&)>& body);

/// Joins a job that `options` describes, instead of the environment: for programs that have been started by other means, such as an MPI solver.
/// Blocks until all members are there, at most options.join_timeout_s. Throws Error. The caller ends with job->close().
std::unique_ptr<job::Job> join(const job::JoinOptions& options);

/// Reports the exception that is being handled: writes one line to stderr, and tells torchrun and the job, so that the other processes learn the
/// reason. Closes the job after Stopped. Calls `told` with the exit code and the message, and returns the exit code. job: may be null.
int report_exception(job::Job* job, const std::function<void(int exit_code, const std::string& message)>& told = {});

}  // namespace cohaul::train
