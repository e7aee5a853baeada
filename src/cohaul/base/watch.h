#pragma once
// Watch: what a thread that waits for other processes tells and asks whoever watches over all of them (the job). Who stands
// still is found by whom nobody sees waiting: only those who wait know that they do.

#include "cohaul/base/clock.h"
#include "cohaul/base/status.h"

namespace cohaul {

class Watch {
 public:
  virtual ~Watch() = default;
  /// ok, or who was lost: sticky. Any thread.
  virtual Status health() const = 0;
  /// This process's training thread waits for others from now on, or does not. What it did before. Never blocks.
  virtual bool set_waiting(bool waiting) = 0;
  /// A wait of `waited` has come to its deadline. peer_lost: who stands still; ok: nobody stands out. Blocks for 2 s at most.
  virtual Status overdue(Duration waited) = 0;
};

/// While it lives, this thread's waits are not told: it is not the process's training thread.
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

/// The training thread waits for others while this lives; any progress ends one wait and begins another.
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
