#pragma once
// Crew: the processes of a job, on this host or on several. It starts them, passes signals on and reports what
// becomes of them. The launcher decides what follows from that.

#include <poll.h>

#include <functional>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/job/membership.h"

namespace cohaul::job {

struct CrewEvent {
  enum class Kind {
    exited,   // who, exit: a process has ended
    decided,  // decision: the job's rendezvous has decided
    asked,    // taken: whether worker 0 took the signal of ask()
    lost      // loss: a whole host; its processes exit, too
  } kind;
  MemberKey who{};
  ProcessExit exit{};
  Decision decision{};
  int signal = 0;
  bool taken = false;
  Loss loss{};
};

/// One thread. Its destructor ends what still runs.
class Crew {
 public:
  virtual ~Crew() = default;
  /// Tells whether the user wants the start to end; asked whenever `fd` can be read.
  struct Interrupt {
    int fd = -1;
    std::function<bool()> came{};
  };
  /// Starts the rendezvous, then all processes. Blocks until they are started, the deadline has passed, or the user
  /// interrupts (both unavailable). Other errors: invalid (the user's mistake), internal. Nothing runs after an
  /// error.
  virtual Status start(const Interrupt& interrupt) = 0;
  /// Adds the descriptors that a wait for the next event must watch.
  virtual void watch(std::vector<pollfd>& descriptors) const = 0;
  /// Returns what has happened. Passes on what the processes have written.
  virtual std::vector<CrewEvent> take_events() = 0;

  // These have no effect on a process that has ended.
  /// Sends SIGTERM to the process and to what it has started.
  virtual void terminate(MemberKey who) = 0;
  virtual void kill(MemberKey who) = 0;
  /// Kills it if it is stopped (SIGSTOP).
  virtual void kill_if_stopped(MemberKey who) = 0;
  /// Passes a signal on to worker 0, if it handles it; for SIGINT, SIGTERM is tried next. An event says whether it
  /// did.
  virtual void ask(int signal) = 0;

  /// Returns the path of its log on this host.
  virtual std::string log_of(MemberKey who) const = 0;
  /// Removes the logs, if their folder is a temporary one.
  virtual void remove_logs() = 0;
};

}  // namespace cohaul::job
