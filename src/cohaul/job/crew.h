#pragma once
// Crew: the processes of a job, on this host or on several. It starts them, passes signals on and says what becomes of them; what follows from that
// is the launcher's to decide.

#include <poll.h>

#include <functional>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/job/membership.h"

namespace cohaul::job {

struct CrewEvent {
  enum class Kind {
    exited,   // who, exit
    decided,  // decision: of the job's rendezvous
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
  /// Whether the user wants it to end; asked whenever `fd` can be read.
  struct Interrupt {
    int fd = -1;
    std::function<bool()> came{};
  };
  /// Starts all, and the rendezvous before them. Blocks until they are started, or the deadline, or an interrupt: then
  /// unavailable. Other errors: invalid (the user's mistake), internal. Nothing runs after an error.
  virtual Status start(const Interrupt& interrupt) = 0;
  /// Adds what a wait for the next event must watch.
  virtual void watch(std::vector<pollfd>& descriptors) const = 0;
  /// What has happened. Passes on what the processes have written.
  virtual std::vector<CrewEvent> take_events() = 0;

  // Of one that has ended these have no effect.
  /// SIGTERM, to it and what it has started.
  virtual void terminate(MemberKey who) = 0;
  virtual void kill(MemberKey who) = 0;
  /// Kills it if it is stopped (SIGSTOP).
  virtual void kill_if_stopped(MemberKey who) = 0;
  /// Passes a signal on to worker 0, if it handles it. For SIGINT, SIGTERM will do. An event says whether it did.
  virtual void ask(int signal) = 0;

  /// Path of its log on this host.
  virtual std::string log_of(MemberKey who) const = 0;
  /// Removes the logs, if their folder is a temporary one.
  virtual void remove_logs() = 0;
};

}  // namespace cohaul::job
