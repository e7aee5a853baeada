#pragma once
// Watch: through it a thread that waits for other processes tells the job so, and asks which process is lost or
// stands still. A process that stands still is known by not waiting: each process reports only its own waits.

#include "cohaul/base/clock.h"
#include "cohaul/base/status.h"

namespace cohaul {

class Watch {
 public:
  virtual ~Watch() = default;
  /// Returns ok, or which process was lost. The error is sticky. Any thread.
  virtual Status health() const = 0;
  /// Tells whether this process's training thread waits for others from now on. Returns whether it did before. Never
  /// blocks.
  virtual bool set_waiting(bool waiting) = 0;
  /// Reports that a wait of `waited` has reached its deadline. Returns peer_lost, naming the process that stands
  /// still; ok where none stands out. Blocks for 2 s at most.
  virtual Status overdue(Duration waited) = 0;
};

/// While it lives, this thread's waits are not reported, since it is not the process's training thread.
class InBackground {
 public:
  InBackground() { here = true; }
  ~InBackground() { here = false; }
  InBackground(const InBackground&) = delete;
  InBackground& operator=(const InBackground&) = delete;

 private:
  friend class Waiting;
  static inline thread_local bool here = false;
};

/// Reports that the training thread waits for others, while it lives. Any progress ends one wait and begins another.
class Waiting {
 public:
  explicit Waiting(Watch& watch) : watch_(watch), before_(!InBackground::here && watch.set_waiting(true)) {}
  ~Waiting() {
    if (!InBackground::here) watch_.set_waiting(before_);
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  Watch& watch_;
  const bool before_;
};

}  // namespace cohaul
