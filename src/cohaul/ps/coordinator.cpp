#include "cohaul/ps/coordinator.h"

#include <algorithm>
#include <string>

#include "cohaul/update/sum.h"

namespace cohaul::ps {

using State = Progress::State;

Coordinator::Coordinator(const Consistency& consistency, std::int32_t workers, std::int32_t slices, ToWorkers& out)
    : consistency_(consistency),
      slices_(slices),
      out_(out),
      workers_(workers),
      holds_(workers),
      last_done_(workers),
      steps_(workers, 0) {
  returned_.reserve(workers);
  shares_.reserve(workers);
  terms_.reserve(workers);
}

Status Coordinator::check(WorkerRank from) const {
  if (workers_[from.value].state != State::lost) return {};
  return peer_lost("worker " + std::to_string(from.value) + " was given up as lost; its work went to others");
}

Status Coordinator::ready(WorkerRank from, std::int64_t clock, const update::Loop& loop, Time now) {
  COHAUL_TRY(check(from));
  Progress& w = workers_[from.value];
  if (consistency_.kind == Consistency::Kind::sync) return corrupt("a synchronous worker asks for a step number");
  if (clock != w.pushed) return corrupt("a worker's clock is not what was counted");
  if (holds_[from.value]) {
    send(from, Kind::grant, w.pushed, holds_[from.value]->value);
    return {};
  }
  if (w.state != State::waiting && w.state != State::draining) w.arrival = arrivals_++;
  w.state = State::waiting;
  steps_[from.value] = loop.end;
  if (loop.end > loop_.end) {
    loop_ = loop;
    since_ = {};
    reported_at_ = now;
  }
  hand_out();
  return {};
}

bool Coordinator::has_step_for(std::size_t worker) const {
  return next_ < steps_[worker] || (!returned_.empty() && returned_.back() < steps_[worker]);
}

bool Coordinator::all_done_before(std::int64_t steps) const {
  bool held = std::any_of(holds_.begin(), holds_.end(), [&](const auto& h) { return h && h->value < steps; });
  return next_ >= steps && !held && (returned_.empty() || returned_.back() >= steps);
}

void Coordinator::hand_out() {
  for (;;) {
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      State& state = workers_[i].state;
      if (state == State::waiting || state == State::draining)
        state = has_step_for(i) ? State::waiting : State::draining;
    }
    std::optional<WorkerRank> chosen = next_to_start(consistency_, workers_);
    if (!chosen) break;
    grant(*chosen);
  }
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    if (workers_[i].state != State::draining || !all_done_before(steps_[i])) continue;
    workers_[i].state = State::finished;
    send(WorkerRank(static_cast<std::int32_t>(i)), Kind::finished, workers_[i].pushed, 0);
  }
}

void Coordinator::grant(WorkerRank to) {
  Progress& w = workers_[to.value];
  stats_.gap_max = std::max(stats_.gap_max, w.pushed - *slowest(workers_));
  std::int64_t number = next_;
  if (!returned_.empty() && returned_.back() < steps_[to.value]) {
    number = returned_.back();
    returned_.pop_back();
  } else {
    ++next_;
  }
  w.state = State::computing;
  holds_[to.value] = Step(number);
  send(to, Kind::grant, w.pushed, number);
}

Status Coordinator::step_done(WorkerRank from, Step step, const StepDone& done, Time now) {
  COHAUL_TRY(check(from));
  if (done.slices.count != slices_) return corrupt("a step cut into another number of slices");
  if (last_done_[from.value] == step) {
    ++stats_.repeats;
    if (consistency_.kind == Consistency::Kind::sync && step.value == gathering_ - 1) report(from);
    return {};
  }
  if (consistency_.kind == Consistency::Kind::sync) {
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
  if (consistency_.kind != Consistency::Kind::sync) {
    report_update(done, now);
    hand_out();
  } else if (covered_ == slices_) {
    terms_.clear();
    for (const Share& s : shares_) terms_.push_back(&s.loss);
    update::tree_sum(std::span<const double* const>(terms_), &reported_loss_, 1);
    shares_.clear();
    covered_ = 0;
    ++gathering_;
    for (std::size_t i = 0; i < workers_.size(); ++i) report(WorkerRank(static_cast<std::int32_t>(i)));
  }
  return {};
}

Status Coordinator::gather(const StepDone& done, Step step, WorkerRank from) {
  if (step.value != gathering_) {
    return corrupt("worker " + std::to_string(from.value) + " ends step " + std::to_string(step.value) +
                   " while step " + std::to_string(gathering_) + " is gathered");
  }
  auto place =
      std::find_if(shares_.begin(), shares_.end(), [&](const Share& s) { return s.slices.first > done.slices.first; });
  bool overlaps = (place != shares_.begin() && (place - 1)->slices.last > done.slices.first) ||
                  (place != shares_.end() && done.slices.last > place->slices.first);
  if (overlaps) return corrupt("two workers report the same slices");
  shares_.insert(place, {done.slices, done.loss});
  covered_ += done.slices.last - done.slices.first;
  return {};
}

void Coordinator::report(WorkerRank to) {
  if (!workers_[to.value].counts()) return;
  send(to, Kind::step_report, gathering_ - 1, 0, {reinterpret_cast<const std::byte*>(&reported_loss_), sizeof(double)});
}

void Coordinator::report_update(const StepDone& done, Time now) {
  ++since_.pushes;
  since_.staleness_sum += done.staleness;
  since_.staleness_max = std::max(since_.staleness_max, done.staleness);
  std::int64_t updates = stats_.pushes;
  bool due = loop_.report_every > 0 && (updates == loop_.end || (updates - loop_.first) % loop_.report_every == 0);
  if (!due || !workers_[0].counts()) return;
  since_.loss = done.loss;
  since_.gap_max = stats_.gap_max;
  since_.elapsed = std::max<Duration>(now - reported_at_, 0);
  body_.clear();
  Writer writer(body_);
  since_.encode(writer);
  send(WorkerRank(0), Kind::update_report, updates, 0, body_);
  since_ = {};
  reported_at_ = now;
}

void Coordinator::gone(WorkerRank worker) {
  Progress& w = workers_[worker.value];
  if (w.state == State::lost) return;
  w.state = State::lost;
  if (std::optional<Step>& held = holds_[worker.value]) {
    returned_.insert(std::upper_bound(returned_.begin(), returned_.end(), held->value, std::greater<>()), held->value);
    held.reset();
  }
  hand_out();
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
