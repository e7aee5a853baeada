#pragma once
// The signals that end a command, read instead of suffered.

#include <signal.h>

#include <string>

namespace cohaul::job {

/// Takes SIGINT, SIGTERM and SIGCHLD by descriptor while it lives; threads that start meanwhile inherit that. One within another sees
/// what came between. Make it while there is one thread.
class Signals {
 public:
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  int fd() const { return fd_; }  // -1: none could be had
  /// Reads what has come; the last of SIGINT and SIGTERM, 0: none.
  int drain();

 private:
  sigset_t before_;
  int fd_;
};

/// What ended a command, for its user.
std::string interruption(int signal);

}  // namespace cohaul::job
