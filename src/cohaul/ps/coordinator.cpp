#include "cohaul/ps/coordinator.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "cohaul/base/facts.h"
#include "cohaul/ps/subtrees.h"

namespace cohaul::ps {

using State = Progress::State;

namespace {

std::string worker_name(std::size_t rank) { return "worker " + std::to_string(rank); }

}  // namespace

Coordinator::Coordinator(const Consistency& consistency, std::int32_t workers, std::int32_t slices, ToWorkers& out)
    : consistency_(consistency),
      slices_(slices),
      out_(out),
      workers_(workers),
      places_(workers),
      holds_(workers),
      last_done_(workers) {
  returned_.reserve(workers);
  std::size_t parts = is_sync() ? 0 : kPartsMax;
  for (std::int32_t w = 0; is_sync() && w < workers; ++w)
    parts += count_subtrees(update::slices_of(slices, w, workers));
  gathered_.reserve(parts);
  parts_.reserve(parts);
  ends_.reserve(parts);
}

Status Coordinator::check(WorkerRank from) const {
  COHAUL_TRY(failure_);
  if (workers_[from.value].state != State::lost) return {};
  return peer_lost(worker_name(from.value) + " was given up as lost; its work went to others");
}

Status Coordinator::refuse_all(Status why) {
  failure_ = std::move(why);
  body_.clear();
  Writer writer(body_);
  Refusal{failure_.code(), failure_.message()}.encode(writer);
  for (std::size_t w = 0; w < workers_.size(); ++w) {
    if (workers_[w].state != State::lost) send(WorkerRank(static_cast<std::int32_t>(w)), Kind::refused, 0, 0, body_);
  }
  return failure_;
}

// ---- loops

bool Coordinator::is_through(std::size_t worker) const {
  const Place& place = places_[worker];
  return workers_[worker].state == State::lost || place.loop > loop_.loop || (place.loop == loop_.loop && place.left);
}

bool Coordinator::all_through() const {
  for (std::size_t w = 0; w < workers_.size(); ++w) {
    if (!is_through(w)) return false;
  }
  return true;
}

LoopState Coordinator::state() const {
  LoopState state = loop_;
  if (is_stopped() || all_through()) state.end = handed_out();
  state.updates_done = stats_.pushes;
  return state;
}

Status Coordinator::ready(WorkerRank from, std::int64_t clock, const Ready& ask, Time now) {
  COHAUL_TRY(check(from));
  now_ = now;
  const auto w = static_cast<std::size_t>(from.value);
  Place& place = places_[w];
  if (is_sync()) return corrupt("a synchronous worker asks for a step number");
  if (ask.loop < place.loop) return {};  // an old request, repeated
  if (clock != workers_[w].pushed) return corrupt("a worker's clock is not what was counted");
  if (place.loop == ask.loop && place.left) {
    LoopState told = state();
    told.loop = ask.loop;  // even if the others are already in the next loop
    send(from, Kind::finished, 0, told);
    return {};
  }
  if (holds_[w]) {
    if (place.loop != ask.loop) return corrupt("a worker begins a loop with a step of another in hand");
    send(from, Kind::grant, holds_[w]->value, state());
    return {};
  }
  const bool comes = !place.asked || place.loop != ask.loop;
  if (comes) place = {ask.loop, false, true, ask.steps, ask.report_every, std::string(ask.facts)};
  if (ask.loop < loop_.loop) {
    return refuse_all(invalid(worker_name(w) + " is in its loop " + std::to_string(ask.loop) +
                              " while the others are in loop " + std::to_string(loop_.loop) +
                              ": all workers must train in the same loops"));
  }
  if (ask.loop > loop_.loop) {
    workers_[w].state = State::finished;  // it finished the loop before, so nobody waits for it
    return open_next();
  }
  if (comes) COHAUL_TRY(come(w));
  wait(w);
  return hand_out();
}

/// Handles a worker's first request in the current loop.
Status Coordinator::come(std::size_t worker) {
  const Place& place = places_[worker];
  if (worker == 0) report_every_ = place.report_every;
  Status same = compare_facts(loop_facts_, worker_name(opener_), place.facts, worker_name(worker));
  if (same.ok() && place.steps != steps_) {
    same = invalid("a loop is of " + std::to_string(steps_) + " steps at " + worker_name(opener_) + " and of " +
                   std::to_string(place.steps) + " at " + worker_name(worker) + ": it must be the same at all workers");
  }
  return same.ok() ? same : refuse_all(same);
}

void Coordinator::wait(std::size_t worker) {
  Progress& w = workers_[worker];
  if (w.state != State::waiting && w.state != State::draining) w.arrival = arrivals_++;
  w.state = State::waiting;
}

/// Begins the next loop for which there is a request, if all workers have left the current one.
Status Coordinator::open_next() {
  if (!all_through()) return {};
  std::optional<std::int64_t> number;
  for (std::size_t w = 0; w < places_.size(); ++w) {
    const bool asks = workers_[w].state != State::lost && places_[w].loop > loop_.loop && places_[w].asked;
    if (asks) number = std::min(number.value_or(places_[w].loop), places_[w].loop);
  }
  if (!number) return {};
  open(*number);
  for (std::size_t w = 0; w < places_.size(); ++w) {
    if (workers_[w].state == State::lost || places_[w].loop > loop_.loop) continue;
    // A worker that has not come yet counts as slow from the start.
    workers_[w].state = State::computing;
    if (places_[w].loop != loop_.loop) continue;
    if (places_[w].left) {
      workers_[w].state = State::finished;
      continue;
    }
    COHAUL_TRY(come(w));
    wait(w);
  }
  return hand_out();
}

void Coordinator::open(std::int64_t number) {
  const auto opener = std::ranges::find_if(places_, [&](const Place& p) { return p.loop == number && p.asked; });
  opener_ = static_cast<std::size_t>(opener - places_.begin());
  steps_ = opener->steps;
  loop_facts_ = opener->facts;
  loop_.loop = number;
  loop_.first = handed_out();
  loop_.end = loop_.first + steps_;
  report_every_ = opener->report_every;
  since_ = {};
  reported_at_ = now_;
}

Status Coordinator::leave_loop(WorkerRank from, std::int64_t clock, const LeaveLoop& leave, Time now) {
  COHAUL_TRY(check(from));
  now_ = now;
  const auto w = static_cast<std::size_t>(from.value);
  Place& place = places_[w];
  if (is_sync()) return corrupt("a synchronous worker leaves a loop that nobody keeps");
  if (leave.loop < place.loop) return {};  // a repeat
  if (clock != workers_[w].pushed) return corrupt("a worker's clock is not what was counted");
  if (place.loop != leave.loop || !place.left) {
    if (holds_[w] && place.loop != leave.loop) return corrupt("a worker leaves a loop with a step of another in hand");
    give_back(from);
    place.loop = leave.loop;
    place.left = true;
    place.asked = false;
    workers_[w].state = State::finished;
    if (leave.stop) stopped_ = std::max(stopped_, leave.loop);
  }
  LoopState told = state();
  told.loop = leave.loop;  // even if the others are already in the next loop
  // The loop has not begun.
  if (leave.loop > loop_.loop) told = {leave.loop, handed_out(), handed_out(), stats_.pushes};
  send(from, Kind::left, 0, told);
  return hand_out();
}

void Coordinator::give_back(WorkerRank from) {
  std::optional<Step>& held = holds_[from.value];
  if (!held) return;
  returned_.insert(std::upper_bound(returned_.begin(), returned_.end(), held->value, std::greater<>()), held->value);
  held.reset();
}

// ---- steps of the asynchronous modes

Status Coordinator::hand_out() {
  for (;;) {
    for (Progress& w : workers_) {
      if (w.state == State::waiting || w.state == State::draining)
        w.state = has_step() ? State::waiting : State::draining;
    }
    std::optional<WorkerRank> chosen = next_to_start(consistency_, workers_);
    if (!chosen) break;
    grant(*chosen);
  }
  finish_drained();
  return open_next();
}

/// Answers the workers that wait for the last pushes of others, when all steps are done.
void Coordinator::finish_drained() {
  const bool held = std::ranges::any_of(holds_, [](const auto& h) { return h.has_value(); });
  if (has_step() || held) return;
  // When a loop is stopped, its last update was not known to be the last, so its report is still due.
  if (workers_[0].state == State::draining && report_every_ > 0 && since_.pushes > 0) send_report();
  for (std::size_t w = 0; w < workers_.size(); ++w) {
    if (workers_[w].state != State::draining) continue;
    workers_[w].state = State::finished;
    places_[w].left = true;
    send(WorkerRank(static_cast<std::int32_t>(w)), Kind::finished, 0, state());
  }
}

void Coordinator::grant(WorkerRank to) {
  Progress& w = workers_[to.value];
  stats_.gap_max = std::max(stats_.gap_max, w.pushed - *slowest(workers_));
  std::int64_t number = next_;
  if (!returned_.empty()) {
    number = returned_.back();
    returned_.pop_back();
  } else {
    ++next_;
  }
  w.state = State::computing;
  holds_[to.value] = Step(number);
  send(to, Kind::grant, number, state());
}

Status Coordinator::step_done(WorkerRank from, Step step, const StepDone& done, Time now) {
  COHAUL_TRY(check(from));
  now_ = now;
  if (done.slices.count != slices_) return corrupt("a step cut into another number of slices");
  if (last_done_[from.value] == step) {
    ++stats_.repeats;
    if (is_sync() && step.value == gathering_ - 1) report(from);
    return {};
  }
  if (is_sync()) {
    COHAUL_TRY(gather(done, step, from));
  } else if (holds_[from.value] != step) {
    return corrupt("the end of a step that the worker was not given");
  }
  last_done_[from.value] = step;
  holds_[from.value].reset();
  ++workers_[from.value].pushed;
  ++stats_.pushes;
  stats_.staleness_sum += done.staleness;
  stats_.staleness_max = std::max(stats_.staleness_max, done.staleness);
  if (is_sync()) return covered_ == slices_ ? complete() : Status();
  report_update(done);
  return hand_out();
}

void Coordinator::report_update(const StepDone& done) {
  ++since_.pushes;
  since_.staleness_sum += done.staleness;
  since_.staleness_max = std::max(since_.staleness_max, done.staleness);
  parts_.clear();
  each_subtree(done.slices, [&](const update::SliceRange& part) { parts_.push_back(part); });
  since_.loss = update::loss_of(parts_, done.part_ends());
  std::int64_t updates = stats_.pushes;
  bool due = report_every_ > 0 && (updates == loop_.end || (updates - loop_.first) % report_every_ == 0);
  if (due && workers_[0].counts()) send_report();
}

void Coordinator::send_report() {
  since_.gap_max = stats_.gap_max;
  since_.elapsed = std::max<Duration>(now_ - reported_at_, 0);
  body_.clear();
  Writer writer(body_);
  since_.encode(writer);
  send(WorkerRank(0), Kind::update_report, stats_.pushes, 0, body_);
  since_ = {};
  reported_at_ = now_;
}

void Coordinator::gone(WorkerRank worker) {
  Progress& w = workers_[worker.value];
  if (w.state == State::lost) return;
  w.state = State::lost;
  give_back(worker);
  if (failure_.ok() && !is_sync()) (void)hand_out().ok();  // an error has been sent to all workers
}

// ---- steps of the synchronous mode

Status Coordinator::gather(const StepDone& done, Step step, WorkerRank from) {
  if (step.value != gathering_) {
    return corrupt(worker_name(from.value) + " ends step " + std::to_string(step.value) + " while step " +
                   std::to_string(gathering_) + " is gathered");
  }
  auto place = std::find_if(gathered_.begin(), gathered_.end(),
                            [&](const GatheredPart& s) { return s.slices.first > done.slices.first; });
  if (std::any_of(gathered_.begin(), gathered_.end(),
                  [&](const GatheredPart& s) { return overlap(s.slices, done.slices); }))
    return corrupt("two workers report the same slices");
  std::size_t part = 0;
  each_subtree(done.slices, [&](const update::SliceRange& slices) {
    place = gathered_.insert(place, {slices, done.ends[part++]}) + 1;
  });
  covered_ += done.slices.size();
  places_[from.value].facts.assign(done.facts);
  has_facts_ |= !done.facts.empty();
  return {};
}

/// Completes a step when all workers have sent their parts of it.
Status Coordinator::complete() {
  if (Status same = compare_all(); !same.ok()) return refuse_all(same);
  parts_.clear();
  ends_.clear();
  for (const GatheredPart& s : gathered_) {
    parts_.push_back(s.slices);
    ends_.push_back(s.end);
  }
  if (!update::weighed_alike(ends_)) {
    return refuse_all(invalid("step " + std::to_string(gathering_) +
                              ": a loss is averaged over the batch at one worker and not at another"));
  }
  reported_ = {update::loss_of(parts_, ends_), update::counted_alike(ends_), update::request_of(ends_)};
  gathered_.clear();
  covered_ = 0;
  has_facts_ = false;
  ++gathering_;
  for (std::size_t i = 0; i < workers_.size(); ++i) report(WorkerRank(static_cast<std::int32_t>(i)));
  return {};
}

Status Coordinator::compare_all() const {
  if (!has_facts_) return {};
  for (std::size_t w = 1; w < places_.size(); ++w) {
    const std::string &a = places_[0].facts, &b = places_[w].facts;
    if (begins_loop(a) != begins_loop(b)) {
      const std::size_t begins = begins_loop(a) ? 0 : w, other = begins_loop(a) ? w : 0;
      return invalid("step " + std::to_string(gathering_) + " is the first of a loop at " + worker_name(begins) +
                     " and not at " + worker_name(other) + ": all workers must train in the same loops");
    }
    COHAUL_TRY(compare_facts(a, worker_name(0), b, worker_name(w)));
  }
  return {};
}

void Coordinator::report(WorkerRank to) {
  if (!workers_[to.value].counts()) return;
  body_.clear();
  Writer writer(body_);
  reported_.encode(writer);
  send(to, Kind::step_report, gathering_ - 1, 0, body_);
}

void Coordinator::send(WorkerRank to, Kind kind, std::int64_t key, const LoopState& state) {
  body_.clear();
  Writer writer(body_);
  state.encode(writer);
  send(to, kind, workers_[to.value].pushed, key, body_);
}

void Coordinator::send(WorkerRank to, Kind kind, std::int64_t clock, std::int64_t key, ConstBytes body) {
  out_.send(to, {.kind = static_cast<std::uint16_t>(kind),
                 .clock = clock,
                 .key = static_cast<std::uint64_t>(key),
                 .body = body,
                 .payload = {},
                 .keep = nullptr});
}

}  // namespace cohaul::ps
