#pragma once
// What a process writes to may go away, or be full.

#include <signal.h>

namespace cohaul {

/// While one lives, a write that nobody will read (SIGPIPE), or that passes the limit of a file's size (SIGXFSZ), fails with its errno instead
/// of ending the process. Who handles or ignores these signals already still does; programs that are started do not inherit it.
class FailingWrites {
 public:
  FailingWrites();
  ~FailingWrites();
  FailingWrites(const FailingWrites&) = delete;

 private:
  struct sigaction before_[2];
};

}  // namespace cohaul
