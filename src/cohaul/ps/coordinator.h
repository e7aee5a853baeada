#pragma once
// Coordinator: the one place that decides for all servers. In the asynchronous modes it keeps the workers' loops together, hands out step
// numbers and holds back who is too far ahead; in the synchronous one it gathers the losses of steps. It counts gaps and staleness. A state
// machine without I/O; lives in server 0's process, on its thread.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/ids.h"
#include "cohaul/base/status.h"
#include "cohaul/ps/consistency.h"
#include "cohaul/ps/messages.h"
#include "cohaul/ps/outbox.h"

namespace cohaul::ps {

/// Messages are idempotent: a worker that repeats one gets the same answer. Where the workers' loops differ, all are refused, and nothing
/// goes on (invalid).
class Coordinator {
 public:
  /// All workers count as live, with clock 0, from the start.
  Coordinator(const Consistency& consistency, std::int32_t workers, std::int32_t slices, ToWorkers& out);

  /// A worker that has done `clock` steps asks for its next one of a loop. Answered by grant, now, when all others have left the loop before, or
  /// when they have caught up; by finished, when all steps of the loop are done, or it was stopped. Asynchronous modes. Errors: peer_lost
  /// (it was given up before), invalid (another loop than the others'), corrupt.
  Status ready(WorkerRank from, std::int64_t clock, const Ready& ask, Time now);
  /// A worker does no more of a loop; the number that it holds goes out again, in this loop or the next. Answered by left.
  Status leave_loop(WorkerRank from, std::int64_t clock, const LeaveLoop& leave, Time now);
  /// Asynchronous modes: its push of this step is acknowledged by all servers; worker 0 hears of it where it asked to. Synchronous:
  /// its share of the step's loss; the mean goes to all as a step_report. Errors: peer_lost, invalid, corrupt.
  Status step_done(WorkerRank from, Step step, const StepDone& done, Time now);
  /// It said goodbye, or died: leaves the minimum; a number that it holds goes out again.
  void gone(WorkerRank worker);

  const Stats& stats() const { return stats_; }

 private:
  struct Share {
    update::SliceRange slices;
    update::PartEnd end;
  };
  struct Place {  // of a worker
    std::int64_t loop = -1;
    bool left = true;    // it does no more of that loop
    bool asked = false;  // it has asked for a step of that loop
    std::int64_t steps = 0, report_every = 0;
    std::string facts;  // synchronous: of the step that is gathered
  };
  bool is_sync() const { return consistency_.kind == Consistency::Kind::sync; }
  Status check(WorkerRank from) const;
  /// Tells all that nothing goes on.
  Status refuse_all(Status why);
  // Loops.
  std::int64_t handed_out() const { return next_ - static_cast<std::int64_t>(returned_.size()); }
  bool is_stopped() const { return loop_.loop <= stopped_; }
  bool has_step() const { return !is_stopped() && handed_out() < loop_.end; }
  bool is_through(std::size_t worker) const;
  bool all_through() const;
  LoopState state() const;
  Status come(std::size_t worker);
  Status open_next();
  void open(std::int64_t number);
  void wait(std::size_t worker);
  // Steps.
  Status hand_out();
  void finish_drained();
  void grant(WorkerRank to);
  void give_back(WorkerRank from);
  void report_update(const StepDone& done);
  void send_report();
  // Synchronous.
  Status gather(const StepDone& done, Step step, WorkerRank from);
  Status complete();
  Status compare_all() const;
  void report(WorkerRank to);
  void send(WorkerRank to, Kind kind, std::int64_t clock, std::int64_t key, ConstBytes body = {});
  void send(WorkerRank to, Kind kind, std::int64_t key, const LoopState& state);

  const Consistency consistency_;
  const std::int32_t slices_;
  ToWorkers& out_;
  Status failure_;
  Time now_ = 0;  // of the last message

  std::vector<Progress> workers_;
  std::vector<Place> places_;
  std::vector<std::optional<Step>> holds_;  // the number that each computes
  std::vector<std::optional<Step>> last_done_;
  std::int64_t next_ = 0;               // numbers below have been handed out
  std::vector<std::int64_t> returned_;  // numbers that came back undone, descending
  std::int64_t arrivals_ = 0;
  LoopState loop_;             // the one that runs
  std::size_t opener_ = 0;     // the worker whose question began it
  std::int64_t steps_ = 0;     // that it asked for
  std::string loop_facts_;     // that it told
  std::int64_t stopped_ = -1;  // loops up to this one end for all
  std::int64_t report_every_ = 0;

  std::vector<Share> shares_;  // of the synchronous step `gathering_`, by first slice
  std::int32_t covered_ = 0;
  std::int64_t gathering_ = 0;
  bool has_facts_ = false;  // somebody's end of the step has
  StepReport reported_;
  std::vector<update::SliceRange> parts_;
  std::vector<update::PartEnd> ends_;

  UpdateReport since_;  // the last report
  Time reported_at_ = 0;
  std::vector<std::byte> body_;
  Stats stats_;
};

}  // namespace cohaul::ps
