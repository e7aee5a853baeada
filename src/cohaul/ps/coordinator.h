#pragma once
// Coordinator: the one place that decides for all servers. It hands out step numbers in the asynchronous modes, holds back who
// is too far ahead, gathers the losses of synchronous steps, and counts gaps and staleness. A state machine without I/O;
// lives in server 0's process, on its thread.

#include <cstdint>
#include <optional>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/ids.h"
#include "cohaul/base/status.h"
#include "cohaul/ps/consistency.h"
#include "cohaul/ps/messages.h"
#include "cohaul/ps/outbox.h"

namespace cohaul::ps {

/// Messages are idempotent: a worker that repeats one gets the same answer.
class Coordinator {
 public:
  /// All workers count as live, with clock 0, from the start.
  Coordinator(const Consistency& consistency, std::int32_t workers, std::int32_t slices, ToWorkers& out);

  /// A worker that has pushed `clock` times asks for its next step number. Answered by grant, now or when others have caught up;
  /// by finished, when all pushes of those steps are done. Asynchronous modes. Errors: peer_lost (it was given up before), corrupt.
  Status ready(WorkerRank from, std::int64_t clock, const update::Loop& loop, Time now);
  /// Asynchronous modes: its push of this step is acknowledged by all servers; worker 0 hears of it where it asked to. Synchronous:
  /// its share of the step's loss; the sum goes to all as a step_report. Errors: peer_lost, corrupt.
  Status step_done(WorkerRank from, Step step, const StepDone& done, Time now);
  /// It said goodbye, or died: leaves the minimum; a number that it holds goes out again.
  void gone(WorkerRank worker);

  const Stats& stats() const { return stats_; }

 private:
  struct Share {
    update::SliceRange slices;
    double loss = 0;
  };
  Status check(WorkerRank from) const;
  bool has_step_for(std::size_t worker) const;
  bool all_done_before(std::int64_t steps) const;
  void hand_out();
  void grant(WorkerRank to);
  Status gather(const StepDone& done, Step step, WorkerRank from);
  void report(WorkerRank to);
  void report_update(const StepDone& done, Time now);
  void send(WorkerRank to, Kind kind, std::int64_t clock, std::int64_t key, ConstBytes body = {});

  const Consistency consistency_;
  const std::int32_t slices_;
  ToWorkers& out_;

  std::vector<Progress> workers_;
  std::vector<std::optional<Step>> holds_;  // the number that each computes
  std::vector<std::optional<Step>> last_done_;
  std::vector<std::int64_t> steps_;     // how many each wants done in all
  std::int64_t next_ = 0;               // numbers below have been handed out
  std::vector<std::int64_t> returned_;  // numbers of the dead, descending
  std::int64_t arrivals_ = 0;

  std::vector<Share> shares_;  // of the synchronous step `gathering_`, by first slice
  std::int32_t covered_ = 0;
  std::int64_t gathering_ = 0;
  double reported_loss_ = 0;
  std::vector<const double*> terms_;

  update::Loop loop_;   // the one that is running
  UpdateReport since_;  // the last report
  Time reported_at_ = 0;
  std::vector<std::byte> body_;
  Stats stats_;
};

}  // namespace cohaul::ps
