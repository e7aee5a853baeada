#pragma once
// Where the workers of one trainer come together, and what a wait within one of its steps asks.

#include <string>

#include "cohaul/job/job.h"

namespace cohaul::train {

/// The job's watch, which knows in addition which step this worker is in: a wait fails at once when a worker will not come to that step.
class Meetings final : public Watch {
 public:
  Meetings(job::Job& job, int trainer) : job_(job), group_("trainer " + std::to_string(trainer)) {}

  /// "trainer 0"
  const std::string& group() const { return group_; }
  /// Blocks until all workers are here for the same purpose. done: steps that this worker has completed. facts: lines "name=value" that must be equal
  /// at all workers. invalid: they came for another purpose, or with other facts.
  Status meet(const std::string& purpose, std::int64_t done, const std::string& facts = {});
  /// Comes to the last meeting without waiting for it: this worker is in no step of the trainer any more.
  void part(std::int64_t done);
  /// The step that this worker is in, from 0; none: it needs nobody in particular.
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
  /// What a worker said of the step before it went away may still be on its way.
  static constexpr Duration kGrace = 300 * kMillisecond;
  job::Job& job_;
  const std::string group_;
  std::int64_t held_ = 0;  // meetings that this worker has come to
  std::int64_t step_ = kNone;
  mutable Time missed_since_ = kForever;  // a worker is known not to come to the step
};

}  // namespace cohaul::train
