#pragma once
// Starting, watching and ending processes of this machine.

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/job/membership.h"

namespace cohaul::job {

struct SpawnOptions {
  std::vector<std::string> command;
  std::vector<std::pair<std::string, std::string>> environment{};  // replaces and adds to this process's
  int stdout_fd = 1, stderr_fd = 2;
  int stdin_fd = -1;  // -1: /dev/null
};

/// Starts a program in a process group of its own, without signals blocked; the kernel kills it when the calling thread
/// ends. By vfork and exec, so nothing of this process is copied. Errors: invalid (no such program), internal.
Result<pid_t> spawn(const SpawnOptions& options);

/// How a child ended, if it has; kills what is left of its process group, then reaps it.
std::optional<ProcessExit> reap(pid_t child);
/// Whether a child is stopped (SIGSTOP).
bool is_stopped(pid_t child);
/// Which process has this number: on one host two with equal keys are one. Empty: none that this process may look at.
std::string process_key(pid_t pid);
/// Lets a process go on that is stopped, if it is the one with this key. False: it is another, or not stopped.
bool continue_stopped(pid_t pid, const std::string& key);
/// Whether the process has a handler for the signal.
bool catches(pid_t child, int signal);
/// SIGTERM, and SIGCONT so that a stopped process takes it.
void terminate_group(pid_t child);
void kill_group(pid_t child);

/// The last lines of a file, each indented by "  | "; empty: none.
std::string last_lines(const std::string& path, int count);

}  // namespace cohaul::job
