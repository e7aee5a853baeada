#include "cohaul/ps/session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "cohaul/ps/frozen.h"
#include "cohaul/ps/placement.h"

namespace cohaul::ps {

Session::Session(const update::Layout& layout, const Init& init, WorkerRank rank, Bytes parameters, ToServers& out,
                 std::optional<OnHost> host)
    : layout_(layout),
      init_(init),
      rank_(rank),
      parameters_(parameters),
      out_(out),
      host_(host),
      keeps_(init.servers),
      parts_pushed_(layout.buckets().size()),
      facts_(init.servers),
      squares_(layout, init.policy.watch_every > 0) {
  partitions_.resize(layout.partitions().size());
  std::size_t mask = 0;
  for (std::size_t p = 0; p < partitions_.size(); ++p) {
    partitions_[p].server = server_of(PartitionId(static_cast<std::int32_t>(p)), init.servers);
    keeps_[partitions_[p].server.value] = true;
    const update::Bucket& bucket = layout.buckets()[layout.partitions()[p].bucket];
    mask = std::max(mask, update::absent_mask_bytes(bucket.parameter_last - bucket.parameter_first));
  }
  if (frozen_bytes(layout) > 0) partitions_.push_back({.server = kCoordinator});
  body_.reserve(1024 + mask);
  if (host_) sums_.emplace(layout, host_->plan, parameters, init.policy.non_finite == update::NonFinite::stop);
}

void Session::send(ServerRank to, Kind kind, std::int64_t clock, std::uint64_t key, ConstBytes payload,
                   std::shared_ptr<const void> keep) {
  out_.send(to, {.kind = static_cast<std::uint16_t>(kind),
                 .clock = clock,
                 .key = key,
                 .body = body_,
                 .payload = payload,
                 .keep = std::move(keep)});
  body_.clear();
}

void Session::await(Kind answer, std::int64_t count) {
  awaited_ = answer;
  answers_missing_ = count;
}

void Session::start() {
  auto encoded = std::make_shared<std::vector<std::byte>>();
  Writer layout(*encoded);
  layout_.encode(layout);
  for (std::int32_t k = 0; k < init_.servers; ++k) {
    Writer body(body_);
    init_.encode(body);
    send(ServerRank(k), Kind::init, 0, 0, *encoded, encoded);
  }
  std::size_t n = layout_.partitions().size();
  for (std::size_t p = 0; p < n && rank_.value == 0; ++p) {
    const update::Partition& partition = layout_.partitions()[p];
    send(partitions_[p].server, Kind::initial, 0, p, parameters_.subspan(partition.offset, partition.bytes));
  }
  if (partitions_.size() > n) {
    auto values = std::make_shared<std::vector<std::byte>>(gather_frozen(layout_, parameters_));
    if (rank_.value == 0) send(kCoordinator, Kind::initial, 0, n, *values, values);
    pull(static_cast<std::int32_t>(n), 0);
  }
  for (std::size_t p = 0; p < n; ++p) {
    if (host_ && host_->plan.is_far(p)) pull_for_host(static_cast<std::int32_t>(p), 0);
    else pull(static_cast<std::int32_t>(p), 0);
  }
}

void Session::pull(std::int32_t partition, std::int64_t at_least) {
  PartitionState& p = partitions_[partition];
  if (p.wanted < 0) ++params_missing_;
  p.wanted = at_least;
  p.shared = false;
  Writer(body_).put(p.content);
  send(p.server, Kind::pull, at_least, static_cast<std::uint64_t>(partition));
}

/// Pulls a partition if this worker is its puller, otherwise waits for the message of the puller.
void Session::pull_for_host(std::int32_t partition, std::int64_t at_least) {
  PartitionState& p = partitions_[partition];
  if (is_puller(static_cast<std::size_t>(partition))) {
    pull(partition, at_least);
  } else {
    if (p.wanted < 0) ++params_missing_;
    p.wanted = at_least;
  }
  p.shared = true;
}

/// Sends a server's answer on to the other workers of this host.
void Session::pass_on(std::int32_t partition, const transport::Frame& frame) {
  const update::Partition& p = layout_.partitions()[partition];
  const ConstBytes values = frame.payload.empty() ? ConstBytes() : ConstBytes(parameters_.subspan(p.offset, p.bytes));
  for (const int to : host_->plan.workers) {
    if (to == rank_.value) continue;
    host_->out.send(
        WorkerRank(to),
        {.kind = frame.kind, .clock = frame.clock, .key = frame.key, .body = frame.body, .payload = values});
  }
}

void Session::pull_all() {
  for (std::size_t p = 0; p < layout_.partitions().size(); ++p)
    pull(static_cast<std::int32_t>(p), partitions_[p].version);
}

void Session::refresh() { pull_all(); }

void Session::assign() {
  ++assignments_;
  const std::size_t n = layout_.partitions().size();
  await(Kind::assigned, static_cast<std::int64_t>(n));
  for (std::size_t p = 0; p < n; ++p) {
    const update::Partition& partition = layout_.partitions()[p];
    partitions_[p].assigned = true;
    send(partitions_[p].server, Kind::assign, assignments_, p, parameters_.subspan(partition.offset, partition.bytes));
  }
}

// ---- loops of the asynchronous modes

Status Session::ask(const update::Loop& loop) {
  if (loop.facts.size() > kFactsBytesMax)
    return invalid("the facts of a loop are over " + std::to_string(kFactsBytesMax) + " bytes");
  Writer writer(body_);
  Ready{loop.number, std::max<std::int64_t>(loop.end - loop.first, 0), loop.report_every, loop.facts}.encode(writer);
  asked_loop_ = loop.number;
  granted_.reset();
  await(Kind::grant, 1);
  send(kCoordinator, Kind::ready, clock_, 0);
  return {};
}

void Session::leave_loop(std::int64_t loop, bool stop) {
  Writer writer(body_);
  LeaveLoop{loop, stop}.encode(writer);
  asked_loop_ = loop;
  granted_.reset();
  await(Kind::left, 1);
  send(kCoordinator, Kind::leave_loop, clock_, 0);
}

Status Session::on_loop_state(Kind kind, const transport::Frame& frame) {
  COHAUL_ASSIGN(LoopState state, LoopState::decode(frame.body));
  const Kind awaited = kind == Kind::finished ? Kind::grant : kind;
  // The answer to a repeated request is ignored.
  if (frame.clock != clock_ || state.loop != asked_loop_ || !awaits(awaited)) return {};
  loop_ = state;
  --answers_missing_;
  if (kind == Kind::grant) granted_ = Step(static_cast<std::int64_t>(frame.key));
  if (kind != Kind::left) pull_all();
  return {};
}

// ---- a step

void Session::set_rates(std::span<const double> rates) {
  ++rates_set_;
  for (std::int32_t k = 0; k < init_.servers; ++k) {
    Writer body(body_);
    Rates{{rates.begin(), rates.end()}}.encode(body);
    send(ServerRank(k), Kind::rates, rates_set_, 0);
  }
}

Status Session::begin(const update::Work& work, std::string_view facts) {
  if (work_ || busy()) return invalid("a step begins before the one before it is finished");
  if (work.slices.count != init_.slices) {
    return invalid("a step of " + std::to_string(work.slices.count) + " slices, the job has " +
                   std::to_string(init_.slices));
  }
  if (facts.size() > kFactsBytesMax)
    return invalid("the facts of a loop are over " + std::to_string(kFactsBytesMax) + " bytes");
  const std::size_t buckets = layout_.buckets().size();
  if (host_ && work.slices != host_->plan.slices[static_cast<std::size_t>(rank_.value)])
    return invalid("a step of other slices than this worker's");
  if (parts_.empty() || done_.slices != work.slices) {
    voices_ = parts_ = update::subtrees_of(work.slices);
    if (host_)
      for (const HostPlan::Sum& sum : host_->plan.sums) voices_.push_back(sum.slices);
  }
  work_ = work;
  step_ = work.step;
  step_clock_ = clock_;
  pushed_.resize(parts_.size() * buckets);
  for (Pushed& p : pushed_) p.here = false;
  parts_pushed_.assign(buckets, 0);
  acks_.assign(voices_.size() * layout_.partitions().size(), false);
  facts_of_step_.assign(is_sync() ? facts : std::string_view());
  done_.slices = work.slices;
  done_.staleness = 0;
  done_.skipped = false;
  done_.facts = facts_of_step_;
  outcome_ = {};
  sent_any_ = finishing_ = ended_ = false;
  measured_.reset();
  if (is_sync() && (init_.policy.needs_facts() || watches())) {
    facts_ = keeps_;
    facts_missing_ = std::count(keeps_.begin(), keeps_.end(), true);
    if (facts_missing_ == 0 && init_.policy.needs_facts()) outcome_.gradient_norm = 0;
  }
  return {};
}

Status Session::push(const update::Gradient& gradient) {
  if (!work_) return invalid("a gradient outside a step");
  const auto part = static_cast<std::size_t>(gradient.part), bucket = static_cast<std::size_t>(gradient.bucket);
  if (gradient.part < 0 || part >= parts_.size() || gradient.bucket < 0 || bucket >= layout_.buckets().size() ||
      pushed(part, bucket).here) {
    return invalid("part " + std::to_string(gradient.part) + " of bucket " + std::to_string(gradient.bucket) +
                   " is pushed twice, or does not exist");
  }
  const update::Bucket& r = layout_.buckets()[bucket];
  const auto parameters = static_cast<std::size_t>(r.parameter_last - r.parameter_first);
  const bool whole = gradient.bytes.size() == r.bytes || (gradient.bytes.empty() && !gradient.absent.empty());
  if (!whole || !update::fits(gradient.absent, parameters))
    return invalid("the gradient of bucket " + std::to_string(gradient.bucket) + " has another size");
  Pushed& p = pushed(part, bucket);
  p.here = true;
  p.bytes = gradient.bytes;
  p.absent.assign(gradient.absent.begin(), gradient.absent.end());
  p.samples = gradient.samples;
  ++parts_pushed_[bucket];
  if (holds_back()) return {};
  // In asynchronous modes a worker computes its whole batch, so it knows by how many samples the gradient has still to be divided.
  return send_push(part, gradient.bucket, is_sync() ? 1 : update::decide(init_.policy, {}, gradient.samples).factor);
}

/// Returns the part of a gradient that is sent for a partition; empty if all parameters of the partition are absent.
ConstBytes Session::gradient_of(const Pushed& pushed, std::int32_t partition) const {
  const update::Partition& p = layout_.partitions()[partition];
  if (pushed.bytes.empty() || layout_.is_all_absent(p, pushed.absent)) return {};
  return pushed.bytes.subspan(p.offset - layout_.buckets()[p.bucket].offset, p.bytes);
}

Status Session::send_push(std::size_t part, std::int32_t bucket, double factor) {
  const update::Bucket& r = layout_.buckets()[bucket];
  const Pushed& gradient = pushed(part, bucket);
  const int sum = host_ ? host_->plan.sum_of(parts_[part]) : -1;
  sent_any_ = true;
  for (std::int32_t p = r.partition_first; p < r.partition_last; ++p) {
    const Push push{.step = work_->step,
                    .slices = parts_[part],
                    .samples = gradient.samples,
                    .factor = factor,
                    .absent = gradient.absent};
    const ConstBytes bytes = gradient_of(gradient, p);
    const bool is_far = host_ && host_->plan.is_far(static_cast<std::size_t>(p));
    if (!is_far || sum < 0) {
      push_to_server(part, p, push, bytes);
    } else if (const int to = host_->plan.summing_worker(static_cast<std::size_t>(p), sum); to != rank_.value) {
      Writer writer(body_);
      push.encode(writer);
      host_->out.send(WorkerRank(to), {.kind = static_cast<std::uint16_t>(Kind::push),
                                       .clock = push.step.value,
                                       .key = static_cast<std::uint64_t>(p),
                                       .body = body_,
                                       .payload = bytes});
      body_.clear();
    } else {
      COHAUL_TRY(add_to_sum(rank_, p, push, bytes, {}));
    }
    if (!is_sync() || parts_pushed_[bucket] < parts_.size()) continue;
    // The pull is sent together with the push; its answer ends the step, which so takes one round trip.
    if (is_far) pull_for_host(p, work_->step.value + 1);
    else pull(p, work_->step.value + 1);
  }
  return {};
}

/// Sends a gradient to a partition's server. voice: index in voices_.
void Session::push_to_server(std::size_t voice, std::int32_t partition, const Push& push, ConstBytes gradient) {
  Writer writer(body_);
  push.encode(writer);
  acks_[voice * layout_.partitions().size() + static_cast<std::size_t>(partition)] = true;
  ++acks_missing_;
  send(partitions_[partition].server, Kind::push, step_clock_, static_cast<std::uint64_t>(partition), gradient);
}

/// Adds a gradient to a sum that this worker makes for its host. A complete sum is sent to the server, always within this worker's own step.
Status Session::add_to_sum(WorkerRank from, std::int32_t partition, const Push& push, ConstBytes gradient,
                           transport::Frame frame) {
  const auto taken = sums_->take(from.value, static_cast<std::size_t>(partition), push, gradient, std::move(frame));
  if (!taken.ok()) return taken.status().context("worker " + std::to_string(from.value));
  if (const HostSums::SummedPush* sum = *taken)
    push_to_server(parts_.size() + static_cast<std::size_t>(sum->sum), partition, sum->push, sum->gradient);
  return {};
}

Status Session::finish(std::span<const update::PartEnd> ends) {
  if (!work_) return invalid("the end of a step that was not begun");
  auto missing = std::find_if(pushed_.begin(), pushed_.end(), [](const Pushed& p) { return !p.here; });
  if (missing != pushed_.end()) {
    const auto at = static_cast<std::size_t>(missing - pushed_.begin()), buckets = layout_.buckets().size();
    return invalid("part " + std::to_string(at / buckets) + " of bucket " + std::to_string(at % buckets) +
                   " was not pushed in this step");
  }
  if (ends.size() != parts_.size() || !update::weighed_alike(ends))
    return invalid("a step of " + std::to_string(parts_.size()) + " parts ends with those of another");
  done_.set(ends);
  if (!is_sync()) outcome_.loss = update::loss_of(parts_, ends);
  if (holds_back()) COHAUL_TRY(push_held());
  finishing_ = true;
  for (const transport::Frame& frame : early_) COHAUL_TRY(on_params(frame));
  early_.clear();
  if (is_sync()) await(Kind::step_report, 1);
  // Asynchronous: the coordinator is told of a push when all servers have acknowledged it, because it grants steps accordingly.
  if (is_sync() || acks_missing_ == 0) step_done();
  return {};
}

/// Decides about an asynchronous step when all its gradients are here, and pushes them if they are to be applied.
Status Session::push_held() {
  update::GradientFacts facts;
  for (std::size_t p = 0; p < layout_.partitions().size(); ++p) {
    const auto partition = static_cast<std::int32_t>(p);
    contributions_.clear();
    for (std::size_t k = 0; k < parts_.size(); ++k) {
      const Pushed& g = pushed(k, static_cast<std::size_t>(layout_.partitions()[p].bucket));
      contributions_.push_back({gradient_of(g, partition), g.absent, parts_[k], rank_.value});
    }
    update::measure(layout_, PartitionId(partition), contributions_, facts);
  }
  const update::StepPlan plan = update::decide(init_.policy, facts, update::samples_of(done_.part_ends()));
  if (plan.action == update::StepPlan::Action::stop) return update::non_finite_error(facts, layout_, work_->step.value);
  outcome_.gradient_norm = plan.norm;
  outcome_.skipped = done_.skipped = plan.action == update::StepPlan::Action::skip;
  for (std::size_t k = 0; k < parts_.size() && !done_.skipped; ++k) {
    // The last buckets first, in the order in which they came, because they are still in the cache.
    for (std::size_t r = layout_.buckets().size(); r-- > 0;)
      COHAUL_TRY(send_push(k, static_cast<std::int32_t>(r), plan.factor));
  }
  return {};
}

void Session::step_done() {
  Writer writer(body_);
  done_.encode(writer);
  send(kCoordinator, Kind::step_done, work_->step.value, 0);
  outcome_.staleness = static_cast<double>(done_.staleness);
  ++clock_;
  finishing_ = false;
  granted_.reset();
  ended_ = true;
  if (facts_missing_ == 0) work_.reset();
}

Status Session::abandon() {
  if (!work_) return {};
  if (sent_any_)
    return invalid("a step of which a part has gone to the servers cannot be given up: nothing more can be done here");
  if (sums_) sums_->forget_own(work_->step.value);
  work_.reset();
  facts_missing_ = 0;
  return {};
}

void Session::ask_all(Kind kind, Kind answer, const std::vector<std::byte>& body) {
  ++questions_;
  await(answer, init_.servers);
  for (std::int32_t k = 0; k < init_.servers; ++k) {
    body_ = body;
    send(ServerRank(k), kind, questions_, 0);
  }
}

void Session::save(const Save& question) {
  std::vector<std::byte> body;
  Writer writer(body);
  question.encode(writer);
  ask_all(Kind::save, Kind::saved, body);
}

void Session::restore(const std::string& checkpoint, std::int64_t updates) {
  std::vector<std::byte> body;
  Writer writer(body);
  Restore{checkpoint, updates}.encode(writer);
  ask_all(Kind::restore, Kind::restored, body);
}

void Session::swap_averages() { ask_all(Kind::swap, Kind::swapped, {}); }

void Session::ask_stats() {
  tables_ = coordinator_ = {};
  ask_all(Kind::ask_stats, Kind::stats, {});
}

void Session::goodbye() {
  for (std::int32_t k = 0; k < init_.servers; ++k) send(ServerRank(k), Kind::goodbye, 0, 0);
}

Status Session::on_frame(ServerRank from, transport::Frame frame) {
  switch (static_cast<Kind>(frame.kind)) {
    case Kind::ack: return on_ack(frame);
    case Kind::params: return on_params(frame);
    case Kind::stats: return on_stats(frame);
    case Kind::saved:
      if (awaits(Kind::saved) && frame.clock == questions_) --answers_missing_;
      return {};
    case Kind::restored:
      if (awaits(Kind::restored) && frame.clock == questions_) --answers_missing_;
      return {};
    case Kind::swapped:
      if (awaits(Kind::swapped) && frame.clock == questions_) --answers_missing_;
      return {};
    case Kind::facts: return on_facts(from, frame);
    case Kind::assigned: return on_assigned(frame);
    case Kind::grant:
    case Kind::finished:
    case Kind::left: return on_loop_state(static_cast<Kind>(frame.kind), frame);
    case Kind::step_report: {
      // The answer to a repeated end of a step is ignored.
      if (Step(frame.clock) != step_ || !awaits(Kind::step_report)) return {};
      COHAUL_ASSIGN(const StepReport report, StepReport::decode(frame.body));
      outcome_.loss = report.loss;
      outcome_.counted_alike = report.counted_alike;
      outcome_.request = report.request;
      --answers_missing_;
      return {};
    }
    case Kind::update_report: {
      COHAUL_ASSIGN(UpdateReport report, UpdateReport::decode(frame.body));
      updates_.push_back({frame.clock, report});
      return {};
    }
    case Kind::refused: {
      COHAUL_ASSIGN(Refusal refusal, Refusal::decode(frame.body));
      return Status(refusal.code, refusal.why).context("server " + std::to_string(from.value) + " refuses");
    }
    default: return corrupt("a message of kind " + std::to_string(frame.kind) + ", which no server sends");
  }
}

Status Session::on_ack(const transport::Frame& frame) {
  COHAUL_ASSIGN(Ack ack, Ack::decode(frame.body));
  if (frame.key >= layout_.partitions().size()) return corrupt("an acknowledgement of a partition that does not exist");
  if (frame.clock != step_clock_) return {};
  const std::size_t n = layout_.partitions().size();
  std::size_t voice = 0;  // a part and a sum may have the same first slice, but a partition gets only one of them
  while (voice < voices_.size() && !(voices_[voice].first == ack.first && acks_[voice * n + frame.key])) ++voice;
  if (voice == voices_.size()) return {};  // the answer to a repeated push
  acks_[voice * n + frame.key] = false;
  PartitionState& p = partitions_[frame.key];
  p.version = std::max(p.version, ack.version.value);
  done_.staleness = std::max(done_.staleness, ack.staleness);
  if (--acks_missing_ == 0 && finishing_ && !is_sync()) step_done();
  return {};
}

Status Session::on_params(const transport::Frame& frame) {
  if (frame.key >= partitions_.size()) return corrupt("parameters of a partition that does not exist");
  PartitionState& p = partitions_[frame.key];
  if (p.wanted < 0 || frame.clock < p.wanted) return {};
  if (frame.key == frozen_key(layout_)) {
    if (frame.payload.size() != frozen_bytes(layout_)) return corrupt("parameters of another size");
    scatter_frozen(layout_, frame.payload, parameters_);
  } else {
    COHAUL_ASSIGN(auto content, decode_value<std::int64_t>(frame.body, "number of a content"));
    const update::Partition& partition = layout_.partitions()[frame.key];
    const bool unchanged = frame.payload.empty() && content == p.content;
    if (!unchanged && frame.payload.size() != partition.bytes) return corrupt("parameters of another size");
    std::byte* to = parameters_.data() + partition.offset;
    if (!unchanged && to != frame.payload.data()) std::memcpy(to, frame.payload.data(), frame.payload.size());
    p.content = content;
  }
  p.wanted = -1;
  p.version = std::max(p.version, frame.clock);
  --params_missing_;
  if (p.shared && is_puller(frame.key)) pass_on(static_cast<std::int32_t>(frame.key), frame);
  return {};
}

Status Session::on_host_frame(WorkerRank from, transport::Frame frame) {
  const auto wrong = [&](const char* what) { return corrupt("worker " + std::to_string(from.value) + ": " + what); };
  if (!host_ || frame.key >= layout_.partitions().size() || !host_->plan.is_far(frame.key))
    return wrong("a message about a partition that is not shared on this host");
  if (static_cast<Kind>(frame.kind) == Kind::push) {
    const auto push = Push::decode(frame.body);
    if (!push.ok()) return push.status().context("worker " + std::to_string(from.value));
    const ConstBytes gradient = frame.payload;
    return add_to_sum(from, static_cast<std::int32_t>(frame.key), *push, gradient, std::move(frame));
  }
  if (static_cast<Kind>(frame.kind) != Kind::params || host_->plan.puller(frame.key) != from.value)
    return wrong("a message that no worker sends");
  if (!work_ || ended_) return on_params(frame);
  early_.push_back(std::move(frame));  // they would overwrite parameters that backward may still read
  return {};
}

bool Session::waits_for(WorkerRank worker) const {
  if (!host_) return false;
  // No parameters are due before the servers have sent their facts, since those may end the step for all workers.
  for (std::size_t p = 0; facts_missing_ == 0 && p < layout_.partitions().size(); ++p) {
    const PartitionState& state = partitions_[p];
    if (state.wanted >= 0 && state.shared && host_->plan.puller(p) == worker.value) return true;
  }
  return step_.value >= 0 && busy() && sums_->misses(worker.value, step_.value);
}

Status Session::on_assigned(const transport::Frame& frame) {
  COHAUL_ASSIGN(auto content, decode_value<std::int64_t>(frame.body, "number of a content"));
  if (frame.key >= layout_.partitions().size()) return corrupt("an assignment of a partition that does not exist");
  PartitionState& p = partitions_[frame.key];
  if (!p.assigned || frame.clock != assignments_) return {};
  p.assigned = false;
  p.content = content;
  --answers_missing_;
  return {};
}

/// Takes a server's facts. All workers get the same facts from all servers, so they make the same decision.
Status Session::on_facts(ServerRank from, const transport::Frame& frame) {
  COHAUL_ASSIGN(Measured here, Measured::decode(frame.body));
  const auto k = static_cast<std::size_t>(from.value);
  if (!work_ || Step(frame.clock) != step_ || k >= facts_.size() || !facts_[k]) return {};
  facts_[k] = false;
  const auto kept = [&](PartitionId p) { return server_of(p, init_.servers) == from; };
  if (watches() ? !squares_.take(frame.payload, kept) : !frame.payload.empty())
    return corrupt("squares of another number of segments");
  if (!measured_) {
    measured_ = here;
  } else {
    measured_->facts.merge(here.facts);
    if (measured_->samples != here.samples) return corrupt("servers heard of another number of samples");
  }
  if (--facts_missing_ > 0) return {};
  const update::StepPlan plan = update::decide(init_.policy, measured_->facts, measured_->samples);
  if (plan.action == update::StepPlan::Action::stop)
    return update::non_finite_error(measured_->facts, layout_, step_.value);
  outcome_.gradient_norm = plan.norm;
  if (watches()) outcome_.gradient_norms = squares_.norms(measured_->samples);
  outcome_.skipped = plan.action == update::StepPlan::Action::skip;
  for (std::int32_t s = 0; s < init_.servers; ++s) {
    if (!keeps_[s]) continue;
    Writer writer(body_);
    plan.encode(writer);
    send(ServerRank(s), Kind::plan, step_.value, 0);
  }
  if (ended_) work_.reset();
  return {};
}

Status Session::on_stats(const transport::Frame& frame) {
  Reader in(frame.body);
  COHAUL_ASSIGN(Stats tables, Stats::decode(in));
  COHAUL_ASSIGN(Stats coordinator, Stats::decode(in));
  if (!awaits(Kind::stats)) return {};
  --answers_missing_;
  tables_.pushes += tables.pushes;
  tables_.repeats += tables.repeats;
  tables_.staleness_sum += tables.staleness_sum;
  tables_.staleness_max = std::max(tables_.staleness_max, tables.staleness_max);
  if (coordinator.pushes > 0) coordinator_ = coordinator;
  return {};
}

Bytes Session::place(std::uint16_t kind, std::int64_t clock, std::uint64_t key, std::uint64_t length) {
  if (static_cast<Kind>(kind) != Kind::params || key >= layout_.partitions().size()) return {};
  if (partitions_[key].wanted < 0 || clock < partitions_[key].wanted) return {};
  const update::Partition& partition = layout_.partitions()[key];
  if (length != partition.bytes) return {};
  return parameters_.subspan(partition.offset, length);
}

std::string Session::missing() const {
  std::int64_t others = -1;
  std::string text;
  const std::size_t n = layout_.partitions().size();
  for (std::size_t p = 0; p < partitions_.size(); ++p) {
    bool ack = false;
    for (std::size_t k = 0; p < n && acks_missing_ > 0 && k < voices_.size(); ++k) ack = ack || acks_[k * n + p];
    if (!ack && partitions_[p].wanted < 0 && !partitions_[p].assigned) continue;
    if (++others > 0) continue;
    text = "server " + std::to_string(partitions_[p].server.value) + ": the " + (ack ? "update" : "parameters") +
           " of partition " + std::to_string(p);
    if (partitions_[p].shared && !is_puller(p)) text += ", through worker " + std::to_string(host_->plan.puller(p));
  }
  if (others > 0) text += " and of " + std::to_string(others) + " others";
  const auto add = [&](const std::string& what) { text += (text.empty() ? "" : "; ") + what; };
  if (facts_missing_ > 0) add("the facts of a step's gradients");
  if (awaits(Kind::grant)) add("server 0: the next step number");
  if (awaits(Kind::left)) add("server 0: that it has heard the goodbye to a loop");
  if (awaits(Kind::step_report)) add("server 0: the step's loss");
  if (awaits(Kind::stats)) add("a server: its counts");
  if (awaits(Kind::saved)) add("a server: that its part of a checkpoint is copied");
  if (awaits(Kind::restored)) add("a server: that it has its part of a checkpoint");
  if (awaits(Kind::swapped)) add("a server: that its averages and parameters have swapped places");
  return text;
}

}  // namespace cohaul::ps
