#pragma once
// Lets a write to a closed pipe or a full file fail instead of ending the process.

#include <signal.h>

namespace cohaul {

/// While one lives, a write that nobody will read (SIGPIPE), or that passes the limit of a file's size (SIGXFSZ),
/// fails with its errno. A process that handles or ignores these signals already still does; child processes do not
/// inherit it.
class FailingWrites {
 public:
  FailingWrites();
  ~FailingWrites();
  FailingWrites(const FailingWrites&) = delete;

 private:
  struct sigaction before_[2];
};

}  // namespace cohaul
