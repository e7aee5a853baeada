#pragma once
// What a trainer tells of its steps: how long they took, and the reports that worker 0 gives.

#include "cohaul/job/job.h"
#include "cohaul/train/report.h"
#include "cohaul/train/sample_loop.h"

namespace cohaul::train {

class Telling {
 public:
  /// reporter: null: progress on worker 0's stderr.
  Telling(const job::Job& job, Reporter* reporter) : job_(job), own_(2, job.rank() != 0), reporter_(reporter) {}

  void begin_loop(const SampleLoop& loop);
  /// updates: done by the loop.
  void end_loop(std::int64_t updates);
  /// lr: the step's learning rate, where the trainer knows it.
  void step_done(const update::StepOutcome& outcome, std::optional<double> lr);
  /// asynchronous: whether `update.asynchrony` means something.
  void tell(const strategy::ReportedUpdate& update, const SampleLoop& loop, bool asynchronous);
  void tell(const observe::CheckpointRecord& record) { (reporter_ ? *reporter_ : own_).checkpoint(record); }
  void tell(const observe::ResumedRecord& record) { (reporter_ ? *reporter_ : own_).resumed(record); }
  /// Since the last report.
  Duration elapsed() const { return steady_clock().now() - told_at_; }
  const StepTimes& times() const { return times_; }

 private:
  double waiting(Time now) const;

  const job::Job& job_;
  ProgressReporter own_;
  Reporter* reporter_;
  StepTimes times_;
  std::int64_t batch_ = 0;
  Time last_end_ = 0, told_at_ = 0;
  Duration waited_ = 0;    // until then, by the job
  std::int64_t told_ = 0;  // the last update that was told of
  std::int64_t skipped_ = 0;
  std::optional<double> gradient_norm_, lr_;
};

}  // namespace cohaul::train
