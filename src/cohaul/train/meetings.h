#pragma once
// Meetings of the workers of one trainer, and the checks of a process that waits within one of its steps.

#include <string>

#include "cohaul/job/job.h"
#include "cohaul/job/meeting.h"

namespace cohaul::train {

/// The job's watch that also knows which step this worker is in. A wait fails at once when another worker is known not to come to that step.
class Meetings final : public Watch {
 public:
  Meetings(job::Job& job, int trainer) : job_(job), group_("trainer " + std::to_string(trainer)) {}

  /// "trainer 0"
  const std::string& group() const { return group_; }
  /// Blocks until all workers have come to the same meeting. done: number of steps that this worker has completed. facts: lines "name=value" that
  /// must be equal at all workers. invalid: another worker came for another purpose, or with other facts.
  Status meet(const std::string& purpose, std::int64_t done, const std::string& facts = {});
  /// Attends the last meeting without waiting for it, so that others learn that this worker takes part in no further step.
  void part(std::int64_t done);
  /// Tells which step this worker is in, counted from 0.
  void enter(std::int64_t step) {
    step_ = step;
    missed_since_ = kForever;
  }
  void leave() { step_ = kNone; }

  Status health() const override;
  bool set_waiting(bool waiting) override { return job_.set_waiting(waiting); }
  Status overdue(Duration waited) override { return job_.overdue(waited); }

 private:
  job::Meeting next(const std::string& purpose, std::int64_t done, const std::string& facts);
  static constexpr std::int64_t kNone = -1;
  /// How long to wait for messages that a worker sent before it left, and which may still be on their way.
  static constexpr Duration kGrace = 300 * kMillisecond;
  job::Job& job_;
  const std::string group_;
  std::int64_t held_ = 0;  // number of meetings that this worker has attended
  std::int64_t step_ = kNone;
  mutable Time missed_since_ = kForever;  // since when a worker is known not to come to the step
};

}  // namespace cohaul::train
