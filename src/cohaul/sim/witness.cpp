#include "cohaul/sim/witness.h"

#include <algorithm>
#include <cstring>

#include "cohaul/base/check.h"
#include "cohaul/ps/memory.h"
#include "cohaul/ps/messages.h"
#include "cohaul/update/local_exchange.h"

namespace cohaul::sim {

using ps::Kind;
using Workers = std::vector<std::unique_ptr<Worker>>;

Witness::Witness(const Scenario& scenario, const update::Layout& layout)
    : scenario_(scenario),
      layout_(layout),
      steps_of_(scenario.workers),
      applied_(layout.partitions().size()),
      pulled_(scenario.workers, std::vector<std::int64_t>(layout.partitions().size(), 0)) {
  if (is_sync()) make_reference();
}

void Witness::broken(const std::string& promise) {
  if (verdict_.ok()) verdict_ = corrupt(promise).context(scenario_.describe());
}

/// What one process would do that has all slices.
void Witness::make_reference() {
  ps::HeapMemory memory;
  Bytes bytes = memory.allocate(layout_.bytes());
  std::span<double> parameters{reinterpret_cast<double*>(bytes.data()), bytes.size() / sizeof(double)};
  std::fill(parameters.begin(), parameters.end(), 1.0);
  update::RuleSettings rule;
  rule.momentum = 0.9;
  auto local = update::make_local_exchange(layout_, rule, bytes);
  reference_.emplace_back(parameters.begin(), parameters.end());
  std::vector<double> gradient(parameters.size());
  update::SliceRange all{0, scenario_.slices, scenario_.slices};
  for (std::int64_t s = 0; s < scenario_.steps; ++s) {
    COHAUL_CHECK(local->begin({Step(s), all}, {1.0}).ok(), "the reference begins a step");
    for (std::size_t r = 0; r < layout_.runs().size(); ++r) {
      const update::Run& run = layout_.runs()[r];
      auto part = std::span(gradient).subspan(run.offset / sizeof(double), run.bytes / sizeof(double));
      fill_gradient(scenario_, run, Step(s), all, part);
      COHAUL_CHECK(local->push(static_cast<std::int32_t>(r), as_bytes(part), {}).ok(), "the reference pushes");
    }
    COHAUL_CHECK(local->finish(0).ok(), "the reference ends a step");
    reference_.emplace_back(parameters.begin(), parameters.end());
  }
}

void Witness::on_sent(std::int32_t to, const transport::Message& message, const Workers& workers) {
  switch (static_cast<Kind>(message.kind)) {
    case Kind::grant: return on_grant(to, message.clock, Step(static_cast<std::int64_t>(message.key)), workers);
    case Kind::finished: finished_.insert(to); return;
    case Kind::ack: return is_sync() ? void() : on_ack(to, message);
    case Kind::params:
      if (message.key < pulled_[to].size()) pulled_[to][message.key] = message.clock;
      return;
    default: return;
  }
}

void Witness::on_grant(std::int32_t to, std::int64_t clock, Step step, const Workers& workers) {
  auto& steps = steps_of_[to];
  if (clock < static_cast<std::int64_t>(steps.size())) {
    if (steps[clock] != step.value) broken("a repeated request got another step number");
    return;
  }
  if (auto h = holder_.find(step.value); h != holder_.end() && !dead_.contains(h->second)) {
    broken("step " + std::to_string(step.value) + " was handed out twice");
  }
  if (step.value < 0 || step.value >= scenario_.steps) broken("a step number out of range was handed out");
  holder_[step.value] = to;
  steps.push_back(step.value);
  std::int64_t least = clock;
  for (const auto& w : workers) {
    if (!dead_.contains(w->rank()) && !finished_.contains(w->rank())) least = std::min(least, w->clock());
  }
  gap_max_ = std::max(gap_max_, clock - least);
  bool bounded = scenario_.consistency.kind == ps::Consistency::Kind::bounded;
  if (bounded && clock - least > scenario_.consistency.staleness) {
    broken("worker " + std::to_string(to) + " starts a step " + std::to_string(clock - least) +
           " ahead of the slowest");
  }
}

void Witness::on_ack(std::int32_t to, const transport::Message& message) {
  Result<ps::Ack> ack = ps::Ack::decode(message.body);
  auto& applied = applied_[message.key];
  std::int64_t step = steps_of_[to].at(message.clock), version = ack->version.value;
  auto known = applied.find(step);
  if (known == applied.end()) {
    std::int64_t of_others = version - 1 - pulled_[to][message.key];
    if (version != static_cast<std::int64_t>(applied.size()) + 1) broken("a version that is not one push more");
    if (ack->staleness != of_others) broken("staleness was counted wrong");
    applied[step] = {to, message.clock, version};
    return;
  }
  const Applied& a = known->second;
  bool same_push = a.worker == to && a.clock == message.clock;
  if (same_push ? version != a.version : !dead_.contains(a.worker)) {
    broken("partition " + std::to_string(message.key) + " applied step " + std::to_string(step) + " twice");
  }
}

void Witness::on_look(const Worker& worker, const Workers& workers) {
  look_at_values(worker);
  if (worker.parameters()[layout_.offset(kFrozen) / sizeof(double)] != 1.0)
    broken("a frozen parameter is not worker 0's");
  if (!is_sync()) look_at_visibility(worker, workers);
}

void Witness::look_at_values(const Worker& worker) {
  if (is_sync()) {
    const auto& expected = reference_.at(worker.versions()[0]);
    for (std::size_t p = 0; p < layout_.partitions().size(); ++p) {
      const update::Partition& part = layout_.partitions()[p];
      if (worker.versions()[p] != worker.versions()[0]) return broken("a step ends with partitions of different steps");
      const auto* bytes = reinterpret_cast<const std::byte*>(expected.data());
      if (std::memcmp(as_bytes(worker.parameters()).data() + part.offset, bytes + part.offset, part.bytes) != 0) {
        return broken("worker " + std::to_string(worker.rank()) + " has other bits than one process");
      }
    }
    std::int64_t step = worker.versions()[0] - 1;
    bool loss_is_right =
        step < 0 || worker.outcome().loss == stub_loss(Step(step), {0, scenario_.slices, scenario_.slices});
    if (!loss_is_right) broken("a loss that is not one process's");
    return;
  }
  for (std::size_t p = 0; p < layout_.partitions().size(); ++p) {
    double expected = 1.0;
    for (const auto& [step, a] : applied_[p]) {
      if (a.version <= worker.versions()[p]) expected -= static_cast<double>(step + 1);
    }
    const update::Partition& part = layout_.partitions()[p];
    for (std::uint32_t s = part.segment_first; s < part.segment_last; ++s) {
      const update::Segment& segment = layout_.segments()[s];
      auto values = worker.parameters().subspan(segment.offset / sizeof(double), segment.elements);
      if (std::any_of(values.begin(), values.end(), [&](double x) { return x != expected; })) {
        return broken("worker " + std::to_string(worker.rank()) + " pulled a torn or wrong version " +
                      std::to_string(worker.versions()[p]) + " of partition " + std::to_string(p));
      }
    }
  }
}

void Witness::look_at_visibility(const Worker& worker, const Workers& workers) {
  const ps::Consistency& consistency = scenario_.consistency;
  std::int64_t horizon = worker.clock() - consistency.staleness;
  for (const auto& other : workers) {
    bool own = other->rank() == worker.rank();
    bool bound = consistency.kind == ps::Consistency::Kind::bounded && !dead_.contains(other->rank());
    if (!own && !bound) continue;
    const auto& steps = steps_of_[other->rank()];
    std::int64_t upto = own ? worker.clock() : std::min<std::int64_t>(horizon, steps.size());
    for (std::int64_t c = 0; c < upto; ++c) {
      for (std::size_t p = 0; p < applied_.size(); ++p) {
        auto a = applied_[p].find(steps[c]);
        if (a != applied_[p].end() && a->second.version <= worker.versions()[p]) continue;
        if (!own && finished_.contains(other->rank())) continue;
        return broken("worker " + std::to_string(worker.rank()) + " at clock " + std::to_string(worker.clock()) +
                      " does not see push " + std::to_string(c) + " of worker " + std::to_string(other->rank()));
      }
    }
  }
}

void Witness::on_death(std::int32_t worker) { dead_.insert(worker); }

void Witness::at_end(const Workers& workers, const ps::Stats& tables, const ps::Stats& coordinator) {
  for (const auto& w : workers) {
    if (w->is_dead() || w->is_finished()) continue;
    return broken("worker " + std::to_string(w->rank()) + " hangs, waiting for " + w->missing());
  }
  if (is_sync()) {
    for (const auto& w : workers) {
      if (w->versions()[0] != scenario_.steps) broken("a worker ended before the last step");
    }
  } else {
    for (std::size_t p = 0; p < applied_.size(); ++p) {
      if (static_cast<std::int64_t>(applied_[p].size()) != scenario_.steps) broken("not every step was applied");
    }
    if (static_cast<std::int64_t>(holder_.size()) != scenario_.steps) broken("not every step number was handed out");
    // What it counts comes a message later than what happens, so it may count more, never less.
    if (coordinator.gap_max < gap_max_) broken("the coordinator missed a gap");
    bool bounded = scenario_.consistency.kind == ps::Consistency::Kind::bounded;
    if (bounded && coordinator.gap_max > scenario_.consistency.staleness) broken("a gap beyond the bound was counted");
  }
  std::int64_t contributions = scenario_.steps * (is_sync() ? scenario_.workers : 1);
  if (coordinator.pushes != contributions) broken("the coordinator counted another number of pushes");
  if (tables.pushes != contributions * static_cast<std::int64_t>(layout_.partitions().size())) {
    broken("the servers applied another number of pushes");
  }
  if (dead_.empty() && coordinator.staleness_max != tables.staleness_max) {
    broken("the staleness reported is not that which the servers counted");
  }
}

}  // namespace cohaul::sim
