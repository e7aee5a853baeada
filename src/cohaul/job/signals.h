#pragma once
// The signals that end a command, or ask it for something, read instead of suffered.

#include <signal.h>

#include <string>
#include <utility>

namespace cohaul::job {

/// Takes SIGINT, SIGTERM, SIGUSR1 and SIGCHLD by descriptor while it lives; threads that start meanwhile inherit that. One within another sees
/// what came between. Make it while there is one thread.
class Signals {
 public:
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  int fd() const { return fd_; }  // -1: none could be had
  /// Reads what has come; the last of SIGINT and SIGTERM, 0: none.
  int drain();
  /// Whether drain() has read a SIGUSR1 since this was asked last.
  bool take_checkpoint() { return std::exchange(checkpoint_, false); }

 private:
  sigset_t before_;
  int fd_;
  bool checkpoint_ = false;
};

/// What ended a command, for its user.
std::string interruption(int signal);

}  // namespace cohaul::job
