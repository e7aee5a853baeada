#pragma once
// The logs: files for the output of a launched job's processes.

#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/base/temporary_folder.h"
#include "cohaul/job/member.h"

namespace cohaul::job {

/// Makes the folder if it is not there. Returns its absolute path. Errors: invalid, naming job.logs.
Result<std::string> make_log_folder(const std::string& folder);

struct Log {
  int fd = -1;  // the caller closes it
  std::string path;
};
/// Makes a member's log in a folder, an empty file: "worker_3.log". Errors: invalid, naming job.logs.
Result<Log> open_log(const std::string& folder, MemberKey who);

/// A folder of logs, a file for each process; and the first worker's stderr, which goes to its log and on to the launcher's.
/// Owns its descriptors. One thread.
class LaunchLog {
 public:
  LaunchLog(const LaunchLog&) = delete;
  LaunchLog() = default;
  ~LaunchLog();

  /// Opens the folder. folder: made if missing; empty: a temporary one. Errors: invalid, naming job.logs.
  Status open(const std::string& folder, int first_stdout, int first_stderr);
  /// Makes what the process may write to: descriptors that are valid until started(). The paths are absolute.
  Status prepare(MemberKey who, int& stdout_fd, int& stderr_fd, std::string& path);
  /// Closes this process's copies of the descriptors, after the start.
  void started();
  /// Returns the descriptor to be polled for reading; -1: none.
  int pipe() const { return pipe_; }
  /// Passes on what the first worker has written to stderr.
  void pump();
  /// Removes a temporary folder.
  void remove_temporary();

 private:
  std::string folder_;
  TemporaryFolder temporary_;
  int first_stdout_ = 1, first_stderr_ = 2;
  int pipe_ = -1;
  int first_log_ = -1;
  std::vector<int> open_;
};

}  // namespace cohaul::job
