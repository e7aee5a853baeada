#pragma once
// The signals that end a command or ask it for a checkpoint. They are read from a descriptor, instead of ending the
// process.

#include <signal.h>

#include <string>
#include <utility>

namespace cohaul::job {

/// Receives SIGINT, SIGTERM, SIGUSR1 and SIGCHLD by a descriptor while it lives. Threads that start meanwhile inherit
/// the blocked signals, so make it while there is one thread. Where there are two at a time, either may read a signal
/// that has come.
class Signals {
 public:
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  int fd() const { return fd_; }  // -1: the system gave none
  /// Reads all signals that have come. Returns the last of SIGINT and SIGTERM; 0: none.
  int drain();
  /// Returns whether drain() has read a SIGUSR1 since the last call.
  bool take_checkpoint() { return std::exchange(checkpoint_, false); }

 private:
  sigset_t before_;
  int fd_;
  bool checkpoint_ = false;
};

/// Returns what ended a command, as a text for its user.
std::string interruption(int signal);

}  // namespace cohaul::job
