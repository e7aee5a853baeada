#pragma once
// What a trainer tells of its steps: how long they took, and the events that worker 0 gives to its sink.

#include <span>

#include "cohaul/job/job.h"
#include "cohaul/observe/progress.h"
#include "cohaul/train/report.h"
#include "cohaul/train/sample_loop.h"

namespace cohaul::train {

class Telling {
 public:
  /// sink: null: progress on worker 0's stderr.
  Telling(const job::Job& job, observe::Sink* sink) : job_(job), progress_(2), sink_(sink ? *sink : progress_) {}
  Telling(const Telling&) = delete;

  void begin_loop(const SampleLoop& loop);
  /// updates: done by the loop.
  void end_loop(std::int64_t updates);
  /// lr: the step's learning rate, where the trainer knows it.
  void step_done(const update::StepOutcome& outcome, std::optional<double> lr);
  /// asynchronous: whether `update.asynchrony` means something.
  void tell(const strategy::ReportedUpdate& update, const SampleLoop& loop, bool asynchronous);
  /// Of a watched step, on worker 0 alone. norms: by parameter of the layout (StepOutcome::gradient_norms).
  void tell_gradients(std::int64_t update, const update::Layout& layout, std::span<const double> norms);
  /// On worker 0 alone.
  void tell(const observe::Event& event) { sink_.write(event); }
  /// Since a step was last told of.
  Duration elapsed() const { return steady_clock().now() - told_at_; }
  const StepTimes& times() const { return times_; }

 private:
  double waiting(Time now) const;

  const job::Job& job_;
  observe::Progress progress_;
  observe::Sink& sink_;
  StepTimes times_;
  std::int64_t batch_ = 0;
  Time last_end_ = 0, told_at_ = 0;
  Duration waited_ = 0;    // until then, by the job
  std::int64_t told_ = 0;  // the last update that was told of
  std::int64_t skipped_ = 0;
  std::optional<double> gradient_norm_, lr_;
};

}  // namespace cohaul::train
