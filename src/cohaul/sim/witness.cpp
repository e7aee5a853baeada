#include "cohaul/sim/witness.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "cohaul/base/check.h"
#include "cohaul/ps/memory.h"
#include "cohaul/sim/stub.h"
#include "cohaul/update/local_exchange.h"

namespace cohaul::sim {

using ps::Kind;
using transport::Role;

namespace {

const job::MemberKey kLauncherKey{Role::launcher, 0};

std::string worker_name(std::int32_t rank) { return "worker " + std::to_string(rank); }

}  // namespace

Witness::Witness(const Scenario& scenario, const update::Layout& layout)
    : scenario_(scenario), layout_(layout), workers_(scenario.workers), applied_(layout.partitions().size()) {
  for (Worker& w : workers_) {
    w.sent.assign(applied_.size(), 0);
    w.versions.assign(applied_.size(), -1);
  }
  if (scenario.is_sync()) make_reference();
}

void Witness::broken(const std::string& promise) {
  if (verdict_.ok()) verdict_ = corrupt(promise).context(scenario_.describe());
}

/// Computes the results of one process that has all slices.
void Witness::make_reference() {
  ps::HeapMemory memory;
  Bytes bytes = memory.allocate(layout_.bytes());
  std::span<double> parameters{reinterpret_cast<double*>(bytes.data()), bytes.size() / sizeof(double)};
  std::fill(parameters.begin(), parameters.end(), 1.0);
  auto local = update::make_local_exchange(layout_, stub_rule(true), scenario_.policy, bytes);
  reference_.emplace_back(parameters.begin(), parameters.end());
  std::vector<double> gradient(parameters.size());
  for (std::int64_t s = 0; s < scenario_.all_steps(); ++s) {
    const Result<update::StepOutcome> outcome = whole_step(*local, scenario_, layout_, Step(s), gradient);
    COHAUL_CHECK(outcome.ok(), "the reference does a step");
    reference_.emplace_back(parameters.begin(), parameters.end());
    reference_outcomes_.push_back(*outcome);
  }
}

void Witness::on_sent(std::int32_t to, const transport::Message& message) {
  switch (static_cast<Kind>(message.kind)) {
    case Kind::grant: return on_grant(to, message.clock, static_cast<std::int64_t>(message.key));
    case Kind::finished: workers_[to].finished = true; return;
    case Kind::left: return on_left(to, message.clock);
    case Kind::ack: return scenario_.is_sync() ? void() : on_ack(to, message);
    case Kind::params:
      if (message.key < applied_.size()) workers_[to].sent[message.key] = message.clock;
      return;
    default: return;
  }
}

void Witness::on_committed(const Saving& saving) {
  const Status good = check_checkpoint(saving, scenario_, layout_, reference_[scenario_.save_after], reference_.back());
  if (!good.ok()) broken(good.message());
}

void Witness::on_sent_to_lost(job::MemberKey by, std::int32_t worker) {
  broken(job::describe(by) + " serves " + worker_name(worker) + ", which it gave up");
}

void Witness::on_refused(job::MemberKey by, std::int32_t worker, const Status& why) {
  if (workers_[worker].is_given_up) return;
  broken(job::describe(by) + " refuses " + worker_name(worker) + ", which did nothing wrong: " + why.message());
}

void Witness::on_heard(std::int32_t worker, const transport::Frame& frame) {
  Worker& w = workers_[worker];
  auto kind = static_cast<Kind>(frame.kind);
  if (kind == Kind::params && frame.key < applied_.size()) w.versions[frame.key] = frame.clock;
  if (kind != Kind::ack || frame.clock != w.clock) return;
  w.acknowledged.insert(frame.key);
  if (w.acknowledged.size() < applied_.size()) return;
  w.acknowledged.clear();
  ++w.clock;
}

void Witness::on_skipped(std::int32_t worker, Step step) {
  if (!scenario_.is_poisoned(step)) broken("a step was skipped in which nothing is wrong");
  skipped_.insert(step.value);
  ++workers_[worker].clock;
}

/// A worker has left its loop. A step that it was granted and has not done may be granted again.
void Witness::on_left(std::int32_t to, std::int64_t clock) {
  left_early_ = true;
  Worker& w = workers_[to];
  w.finished = true;
  while (static_cast<std::int64_t>(w.steps.size()) > clock) {
    holder_.erase(w.steps.back());
    w.steps.pop_back();
  }
}

void Witness::on_grant(std::int32_t to, std::int64_t clock, std::int64_t step) {
  auto& steps = workers_[to].steps;
  auto count = static_cast<std::int64_t>(steps.size());
  if (clock < count) {
    if (steps[clock] != step) broken("a repeated request got another step number");
    return;
  }
  if (clock > count) return broken(worker_name(to) + " is granted a step before it has pushed");
  if (auto h = holder_.find(step); h != holder_.end() && !workers_[h->second].is_given_up) {
    broken("step " + std::to_string(step) + " was handed out twice");
  }
  if (step < 0 || step >= scenario_.all_steps()) broken("a step number out of range was handed out");
  holder_[step] = to;
  workers_[to].finished = false;
  steps.push_back(step);
  std::int64_t least = clock;
  for (const Worker& w : workers_) {
    if (!w.is_given_up && !w.finished) least = std::min(least, w.clock);
  }
  gap_max_ = std::max(gap_max_, clock - least);
  bool bounded = scenario_.consistency.kind == ps::Consistency::Kind::bounded;
  if (bounded && clock - least > scenario_.consistency.staleness) {
    broken(worker_name(to) + " starts a step " + std::to_string(clock - least) + " ahead of the slowest");
  }
}

void Witness::on_ack(std::int32_t to, const transport::Message& message) {
  Result<ps::Ack> ack = ps::Ack::decode(message.body);
  auto& applied = applied_[message.key];
  if (message.clock >= static_cast<std::int64_t>(workers_[to].steps.size())) {
    return broken(worker_name(to) + " pushed a step that it was not granted");
  }
  std::int64_t step = workers_[to].steps[message.clock], version = ack->version.value;
  auto known = applied.find(step);
  if (known == applied.end()) {
    std::int64_t of_others = version - 1 - workers_[to].sent[message.key];
    if (version != static_cast<std::int64_t>(applied.size()) + 1) broken("a version that is not one push more");
    if (ack->staleness != of_others) broken("staleness was counted wrong");
    applied[step] = {to, message.clock, version};
    return;
  }
  const Applied& a = known->second;
  bool same_push = a.worker == to && a.clock == message.clock;
  if (same_push ? version != a.version : !workers_[a.worker].is_given_up) {
    broken("partition " + std::to_string(message.key) + " applied step " + std::to_string(step) + " twice");
  }
}

void Witness::on_look(const Look& look) {
  if (look.parameters[layout_.offset(kFrozen) / sizeof(double)] != 1.0) {
    broken("a frozen parameter is not worker 0's");
  }
  scenario_.is_sync() ? look_at_reference(look) : look_at_sum(look);
  if (!scenario_.is_sync()) look_at_visibility(look);
  const auto& versions = workers_[look.worker].versions;
  bool whole = true;
  for (std::size_t p = 0; p < versions.size(); ++p) {
    const auto applied = static_cast<std::int64_t>(applied_[p].size());
    whole &= versions[p] == (scenario_.is_sync() ? scenario_.all_steps() : applied);
  }
  if (look.is_last && !whole) broken(worker_name(look.worker) + " ends with other parameters than the last ones");
}

void Witness::look_at_reference(const Look& look) {
  const auto& versions = workers_[look.worker].versions;
  if (versions[0] > scenario_.all_steps()) return broken("an update that belongs to no step");
  const auto& expected = reference_[versions[0]];
  for (std::size_t p = 0; p < versions.size(); ++p) {
    const update::Partition& part = layout_.partitions()[p];
    if (versions[p] != versions[0]) return broken("a step ends with partitions of different steps");
    ConstBytes ours = as_bytes(look.parameters), theirs = as_bytes(std::span(expected));
    if (std::memcmp(ours.data() + part.offset, theirs.data() + part.offset, part.bytes) != 0) {
      return broken(worker_name(look.worker) + " has other bits than one process after step " +
                    std::to_string(versions[0] - 1));
    }
  }
  std::int64_t step = versions[0] - 1;
  if (step < 0) return;
  const update::StepOutcome& alone = reference_outcomes_[step];
  if (look.outcome.loss != alone.loss) broken("a loss that is not one process's");
  if (look.outcome.gradient_norm != alone.gradient_norm) broken("a norm that is not one process's");
  if (look.outcome.skipped != alone.skipped) broken("a step is skipped that one process applies, or the reverse");
}

void Witness::look_at_sum(const Look& look) {
  for (std::size_t p = 0; p < applied_.size(); ++p) {
    std::int64_t version = workers_[look.worker].versions[p];
    double expected = 1.0;
    for (const auto& [step, a] : applied_[p]) {
      if (a.version <= version) expected -= static_cast<double>(step + 1);
    }
    const update::Partition& part = layout_.partitions()[p];
    for (std::uint32_t s = part.segment_first; s < part.segment_last; ++s) {
      const update::Segment& segment = layout_.segments()[s];
      auto values = look.parameters.subspan(segment.offset / sizeof(double), segment.elements);
      if (std::any_of(values.begin(), values.end(), [&](double x) { return x != expected; })) {
        return broken(worker_name(look.worker) + " pulled a torn or wrong version " + std::to_string(version) +
                      " of partition " + std::to_string(p));
      }
    }
  }
}

bool Witness::sees(const Worker& worker, std::int64_t step) const {
  if (skipped_.contains(step)) return true;
  for (std::size_t p = 0; p < applied_.size(); ++p) {
    auto a = applied_[p].find(step);
    if (a == applied_[p].end() || a->second.version > worker.versions[p]) return false;
  }
  return true;
}

/// The parameters must include the worker's own pushes, and under a bound s all pushes with clock < c − s, also of workers that died afterwards.
void Witness::look_at_visibility(const Look& look) {
  const Worker& self = workers_[look.worker];
  bool bounded = scenario_.consistency.kind == ps::Consistency::Kind::bounded;
  std::int64_t horizon = self.clock - scenario_.consistency.staleness;
  for (std::size_t w = 0; w < workers_.size(); ++w) {
    const Worker& other = workers_[w];
    bool own = &other == &self;
    // At the end of a loop other workers may be in the next one already; the bound is on starts of steps.
    if (!own && (!bounded || (look.is_over && !look.is_last))) continue;
    std::int64_t upto = own ? self.clock : std::min(horizon, other.clock);
    if (!own && !other.is_given_up && !other.finished && other.clock < horizon && !look.is_over) {
      return broken(worker_name(look.worker) + " runs ahead of worker " + std::to_string(w));
    }
    for (std::int64_t c = 0; c < upto; ++c) {
      if (sees(self, other.steps[c])) continue;
      return broken(worker_name(look.worker) + " at clock " + std::to_string(self.clock) + " does not see push " +
                    std::to_string(c) + " of worker " + std::to_string(w));
    }
  }
}

void Witness::on_fault(const Fault& fault, Time now) {
  if (!fault.is_fatal(scenario_.peer_timeout)) return;
  culprits_[fault.who] = fault;
  culprits_[fault.who].at = now;
  // A worker that is stopped counts until membership gives it up.
  if (fault.who.role == Role::worker && fault.kind != Fault::Kind::stop) workers_[fault.who.rank].is_given_up = true;
}

/// Checks that a process which was not lost itself ends in time after the loss is known.
void Witness::check_end_in_time(const Process& process, Time now) {
  const Duration on_the_way = 4 * scenario_.delay_max, computes = scenario_.compute_max;
  // It may go on computing until it is ended, and be stopped for a time that is too short to count as a loss.
  if (decided_at_ < kForever &&
      now - decided_at_ > job::MemberSession::kEndGrace + scenario_.peer_timeout / 3 + on_the_way)
    broken(job::describe(process.who()) + " does not end, though a loss is known");
  const auto launcher = culprits_.find(kLauncherKey);
  if (launcher == culprits_.end()) return;
  const Duration patience = launcher->second.kind == Fault::Kind::stop ? scenario_.peer_timeout : 0;
  if (now - launcher->second.at > patience + on_the_way + computes)
    broken(job::describe(process.who()) + " ends late after the launcher's");
}

void Witness::on_failed(const Process& process, Time now) {
  if (process.who().role == Role::worker) workers_[process.who().rank].is_given_up = true;
  std::string who = job::describe(process.who()), why = process.failure().message();
  if (culprits_.empty()) return broken(who + " fails, though nothing is wrong: " + why);
  if (process.failure().code() != Code::peer_lost) broken(who + " fails with another error than a lost peer: " + why);
  if (!culprits_.contains(process.who())) check_end_in_time(process, now);
  if (std::exchange(someone_failed_, true) || culprits_.contains(process.who())) return;
  bool is_named = std::any_of(culprits_.begin(), culprits_.end(),
                              [&](const auto& c) { return why.find(job::describe(c.first)) != std::string::npos; });
  if (!is_named) broken("the first to fail names nobody who was lost: " + why);
}

void Witness::on_decision(const job::Decision& decision, Time now) {
  using Kind = job::Decision::Kind;
  if (loss_ || finished_) broken("membership decides after its last decision");
  if (decision.kind == Kind::assembled && std::exchange(assembled_, true)) broken("a job assembles twice");
  if (decision.kind == Kind::finished) finished_ = true;
  if (decision.kind != Kind::lost) return;
  loss_ = decision.loss;
  decided_at_ = now;
  auto culprit = culprits_.find(loss_->who);
  if (culprit == culprits_.end()) return broken("membership gives up one that lives: " + loss_->message());
  if (loss_->who.role == Role::worker) workers_[loss_->who.rank].is_given_up = true;
  if (loss_->who == kLauncherKey) return;  // the launcher decides when it runs again
  bool silent = culprit->second.kind == Fault::Kind::stop;
  Duration patience = silent ? scenario_.peer_timeout : job::Membership::kEvidenceGrace;
  if (!assembled_) patience = kJoinTimeout;
  if (now - culprit->second.at > patience + 4 * scenario_.delay_max + scenario_.compute_max)
    broken("given up late: " + loss_->message());
}

void Witness::at_end(const std::vector<const Process*>& processes, const ps::Stats& tables,
                     const ps::Stats& coordinator) {
  check_ends(processes);
  if (scenario_.goes_on || culprits_.empty()) check_counts(tables, coordinator);
}

void Witness::check_ends(const std::vector<const Process*>& processes) {
  for (const Process* p : processes) {
    if (culprits_.contains(p->who())) continue;
    std::string who = job::describe(p->who());
    if (p->state() == Process::State::running) return broken(who + " hangs, waiting for " + p->waits_for());
    bool may_fail = (loss_ || culprits_.contains(kLauncherKey)) && !scenario_.goes_on;
    if (p->state() == Process::State::failed && !may_fail) {
      return broken(who + " should have gone on: " + p->failure().message());
    }
  }
  const auto launcher = culprits_.find(kLauncherKey);
  const bool is_gone =
      launcher != culprits_.end() && (launcher->second.kind == Fault::Kind::kill || launcher->second.lasts == kForever);
  if (!loss_ && !finished_ && !is_gone) broken("membership does not see the end");
}

void Witness::check_counts(const ps::Stats& tables, const ps::Stats& coordinator) {
  bool sync = scenario_.is_sync();
  // If a loop was left early, only the coordinator knows how many steps it has.
  const std::int64_t steps = sync || !left_early_ ? scenario_.all_steps() : coordinator.pushes;
  if (steps > scenario_.all_steps()) broken("more steps were done than the loops have");
  for (std::size_t p = 0; p < applied_.size() && !sync; ++p) {
    if (static_cast<std::int64_t>(applied_[p].size()) + skipped() != steps) broken("not every step was applied");
  }
  if (!sync && static_cast<std::int64_t>(holder_.size()) != steps) broken("not every step number was handed out");
  // It counts one message later than the event, so it may count more, never less.
  if (coordinator.gap_max < gap_max_) broken("the coordinator missed a gap");
  bool bounded = scenario_.consistency.kind == ps::Consistency::Kind::bounded;
  if (bounded && coordinator.gap_max > scenario_.consistency.staleness) broken("a gap beyond the bound was counted");
  if (coordinator.pushes != steps * (sync ? scenario_.workers : 1))
    broken("the coordinator counted another number of steps");
  std::int64_t contributions = steps - skipped();
  for (std::int32_t w = 0; w < scenario_.workers && sync; ++w) {
    contributions +=
        steps * (static_cast<std::int64_t>(
                     update::subtrees_of(update::slices_of(scenario_.slices, w, scenario_.workers)).size()) -
                 (w == 0 ? 1 : 0));
  }
  if (tables.pushes != contributions * static_cast<std::int64_t>(layout_.partitions().size())) {
    broken("the servers applied another number of pushes");
  }
  if (culprits_.empty() && coordinator.staleness_max != tables.staleness_max) {
    broken("the staleness reported is not that which the servers counted");
  }
}

}  // namespace cohaul::sim
