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
  int stdin_fd = -1;        // -1: /dev/null
  std::vector<int> cpus{};  // to which it is bound, if the kernel allows it; empty: it may run where this process may
};

/// Starts a program in a process group of its own, without signals blocked; the kernel kills it when the calling thread
/// ends. By vfork and exec, so nothing of this process is copied. Errors: invalid (no such program), internal.
Result<pid_t> spawn(const SpawnOptions& options);

/// Returns how a child ended, if it has; kills what is left of its process group, then reaps it.
std::optional<ProcessExit> reap(pid_t child);
/// Returns whether a child is stopped (SIGSTOP).
bool is_stopped(pid_t child);
/// Returns a text that tells the process with this number from others that had the number before, or have it in another container. Empty: this
/// process may not look at it.
std::string process_key(pid_t pid);
/// Continues a stopped process (SIGCONT), if it is the one with this key. Returns false if it is another one, or not stopped.
bool continue_stopped(pid_t pid, const std::string& key);
/// Returns whether the process has a handler for the signal.
bool catches(pid_t child, int signal);
/// Sends SIGTERM to the group, and SIGCONT so that a stopped process takes it.
void terminate_group(pid_t child);
void kill_group(pid_t child);

/// Returns the last lines of a file, as far as its last 4 KiB have them. The calls that led to an error are left out.
std::vector<std::string> last_lines(const std::string& path, std::size_t count);
/// Returns them as a text, each indented by "  | "; empty: none.
std::string last_lines_indented(const std::string& path, std::size_t count);

}  // namespace cohaul::job
