#pragma once
// Coordinator: decides for all servers. In asynchronous modes it keeps the workers' loops together, grants steps by number, and makes workers wait
// that are too far ahead. In synchronous mode it gathers the losses of steps. It also counts gaps and staleness. It is a state machine without I/O
// that runs in server 0, on its thread.

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

/// Messages are idempotent: a worker that repeats one gets the same answer. If the workers' loops differ, all of them are refused and no step is
/// granted any more (invalid).
class Coordinator {
 public:
  /// At the start all workers count as live, with clock 0.
  Coordinator(const Consistency& consistency, std::int32_t workers, std::int32_t slices, ToWorkers& out);

  /// Handles a worker's request for a step of a loop, in asynchronous modes; the worker has done `clock` steps. The answer is `grant`, at once or
  /// when the others have left the loop before or have caught up, or `finished`, when all steps of the loop are done or the loop was stopped. Errors:
  /// peer_lost (the worker was given up before), invalid (its loop differs from the others'), corrupt.
  Status ready(WorkerRank from, std::int64_t clock, const Ready& ask, Time now);
  /// Handles that a worker leaves a loop. The number of an unfinished step is granted again, in this loop or the next. The answer is `left`.
  Status leave_loop(WorkerRank from, std::int64_t clock, const LeaveLoop& leave, Time now);
  /// Asynchronous modes: all servers have acknowledged the worker's push of this step; worker 0 gets a report if it is due. Synchronous mode: takes
  /// the worker's part of the step's loss; the mean is sent to all as a step_report. Errors: peer_lost, invalid, corrupt.
  Status step_done(WorkerRank from, Step step, const StepDone& done, Time now);
  /// The worker has said goodbye or died: no worker waits for it any more, and the number of its unfinished step is granted again.
  void gone(WorkerRank worker);

  const Stats& stats() const { return stats_; }

 private:
  struct GatheredPart {
    update::SliceRange slices;
    update::PartEnd end;
  };
  struct Place {  // where a worker is in the loops
    std::int64_t loop = -1;
    bool left = true;    // it does no more of that loop
    bool asked = false;  // it has asked for a step of that loop
    std::int64_t steps = 0, report_every = 0;
    std::string facts;  // synchronous: facts of the step that is being gathered
  };
  bool is_sync() const { return consistency_.kind == Consistency::Kind::sync; }
  Status check(WorkerRank from) const;
  /// Refuses all workers.
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
  Time now_ = 0;  // time of the last message

  std::vector<Progress> workers_;
  std::vector<Place> places_;
  std::vector<std::optional<Step>> holds_;  // by worker: the step that it computes
  std::vector<std::optional<Step>> last_done_;
  std::int64_t next_ = 0;               // all smaller numbers have been granted
  std::vector<std::int64_t> returned_;  // numbers that came back undone, descending
  std::int64_t arrivals_ = 0;
  LoopState loop_;             // the current loop
  std::size_t opener_ = 0;     // the worker whose request began the loop
  std::int64_t steps_ = 0;     // number of steps in its request
  std::string loop_facts_;     // facts in its request
  std::int64_t stopped_ = -1;  // loops up to this one have been stopped
  std::int64_t report_every_ = 0;

  std::vector<GatheredPart> gathered_;  // what has come for the synchronous step `gathering_`, by first slice
  std::int32_t covered_ = 0;
  std::int64_t gathering_ = 0;
  bool has_facts_ = false;  // a worker has sent facts with the step
  StepReport reported_;
  std::vector<update::SliceRange> parts_;
  std::vector<update::PartEnd> ends_;

  UpdateReport since_;  // counts since the last report
  Time reported_at_ = 0;
  std::vector<std::byte> body_;
  Stats stats_;
};

}  // namespace cohaul::ps
