#pragma once
// Running another program and waiting for it.

#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/status.h"

namespace cohaul::cli {

/// Folder of this executable: its companions (cohaul-worker, cohaul-server, cohaul-bench-*) lie there.
Result<std::string> own_folder();

/// invalid: `path` is no file that may be executed. what: named in front of the message, e.g. "--program".
Status check_executable(const std::string& what, const std::string& path);

struct ChildOptions {
  bool capture_out = false, capture_err = false;  // else they are this process's
  Duration timeout = 0;                           // 0: none; then it is killed
};
struct ChildResult {
  int exit = 0;         // 128 + signal where a signal ended it, or this process was interrupted
  int interrupted = 0;  // SIGINT or SIGTERM that came to this process meanwhile, and ended the program
  bool timed_out = false;
  std::string out, err;  // what was captured, at most 1 MB each
};

/// argv[0] is a path. Blocks until the program has ended; it does not outlive this process, nor what it started itself.
/// Errors: invalid (it cannot be started: argv[0] and why), internal.
Result<ChildResult> run_child(const std::vector<std::string>& argv, const ChildOptions& options = {});

}  // namespace cohaul::cli
