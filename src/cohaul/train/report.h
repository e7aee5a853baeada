#pragma once
// What is told of a run: the trainer decides what, `observe` how.

#include <cstdint>
#include <optional>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/observe/progress.h"
#include "cohaul/observe/record.h"
#include "cohaul/strategy/engine.h"

namespace cohaul::train {

/// A step worth telling, on worker 0.
struct StepReport {
  std::int64_t step = 0;               // updates done, from 1
  std::int64_t steps = 0;              // in all
  double loss = 0, samples_per_s = 0;  // since the last report
  double waiting = 0;                  // fraction of the time
  double seconds_left = 0;
  bool many = false;         // more than one worker: waiting means something
  std::optional<double> lr;  // learning rate of the step, after its schedule; none: the optimizer is the user's own
  std::optional<double> gradient_norm;  // of the step, before clipping, where it is known
  std::int64_t skipped = 0;             // updates left out so far, since a gradient was not finite
  std::optional<strategy::Asynchrony> asynchrony;
};

class Reporter {
 public:
  virtual ~Reporter() = default;
  virtual void step(const StepReport& report) = 0;
  /// On worker 0.
  virtual void checkpoint(const observe::CheckpointRecord&) {}
  virtual void resumed(const observe::ResumedRecord&) {}
};

/// Progress lines to a descriptor and lines of a record.
class ProgressReporter final : public Reporter {
 public:
  /// record: may be null; outlives the reporter.
  ProgressReporter(int fd, bool quiet, observe::Record* record = nullptr) : progress_(fd, quiet), record_(record) {}
  void step(const StepReport& report) override;
  void checkpoint(const observe::CheckpointRecord& record) override;
  void resumed(const observe::ResumedRecord& record) override;
  const Status& status() const { return status_; }

 private:
  template <class R>
  void write(const R& record) {
    if (record_ && status_.ok()) status_ = record_->write(record);
  }
  observe::ProgressWriter progress_;
  observe::Record* record_;
  Status status_;
};

/// Durations of this worker's steps, and how fast all of them went.
struct StepTimes {
  std::vector<Duration> steps;
  Time began = 0, ended = 0;  // of the first step, of the last
  std::int64_t samples = 0;   // over all workers
  double median_ms() const;
  double samples_per_s() const;
};

}  // namespace cohaul::train
