#pragma once
// Running another program and waiting for it.

#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/status.h"

namespace cohaul::cli {

/// Returns the folder of this executable. Cohaul's other executables (cohaul-worker, cohaul-server, cohaul-bench-*) are in it.
Result<std::string> own_folder();

/// Returns invalid where `path` is not an executable file. what: the beginning of the message, e.g. "--program".
Status check_executable(const std::string& what, const std::string& path);

struct ChildOptions {
  bool capture_out = false, capture_err = false;  // else the program writes to this process's
  Duration timeout = 0;                           // after which the program is killed; 0: none
};
struct ChildResult {
  int exit = 0;         // exit code; 128 + signal where a signal ended it, or interrupted this process
  int interrupted = 0;  // SIGINT or SIGTERM that came to this process meanwhile and ended the program
  bool timed_out = false;
  std::string out, err;  // captured output, at most 1 MB each
};

/// Runs a program and blocks until it has ended. argv[0] is a path. Neither the program nor processes that it starts outlive this process. Errors:
/// invalid (it cannot be started: argv[0] and why), internal.
Result<ChildResult> run_child(const std::vector<std::string>& argv, const ChildOptions& options = {});

}  // namespace cohaul::cli
