#pragma once
// Reports a trainer's steps: measures how long they take, and gives worker 0's events to its sink.

#include <span>

#include "cohaul/job/job.h"
#include "cohaul/observe/progress.h"
#include "cohaul/strategy/engine.h"
#include "cohaul/train/sample_loop.h"
#include "cohaul/train/step_times.h"

namespace cohaul::train {

class Telling {
 public:
  /// sink: null: progress is shown on worker 0's stderr.
  Telling(const job::Job& job, observe::Sink* sink) : job_(job), progress_(2), sink_(sink ? *sink : progress_) {}
  Telling(const Telling&) = delete;

  void begin_loop(const SampleLoop& loop);
  /// updates: how many the loop has done.
  void end_loop(std::int64_t updates);
  /// lr: the step's learning rate, if the trainer knows it.
  void step_done(const update::StepOutcome& outcome, std::optional<double> lr);
  /// asynchronous: whether `update.asynchrony` is set.
  void tell(const strategy::ReportedUpdate& update, const SampleLoop& loop, bool asynchronous);
  /// Writes the norms of a watched step's gradients; on worker 0 alone. norms: by parameter of the layout (StepOutcome::gradient_norms).
  void tell_gradients(std::int64_t update, const update::Layout& layout, std::span<const double> norms);
  /// Writes any event; on worker 0 alone.
  void tell(const observe::Event& event) { sink_.write(event); }
  /// Returns the time since a step was last reported.
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
  Duration waited_ = 0;    // how long the job had waited until then
  std::int64_t told_ = 0;  // the last update that was reported
  std::int64_t skipped_ = 0;
  std::optional<double> gradient_norm_, lr_;
};

}  // namespace cohaul::train
