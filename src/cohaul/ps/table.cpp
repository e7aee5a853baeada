#include "cohaul/ps/table.h"

#include <algorithm>
#include <string>

#include "cohaul/ps/subtrees.h"

namespace cohaul::ps {
namespace {

// A partition of any size fits into one payload.

/// Returns how many contributions a step has: one for each part of each worker's slices.
std::size_t parts_of_step(const Init& init) {
  if (!init.is_sync()) return 1;
  std::size_t n = 0;
  for (std::int32_t w = 0; w < init.workers; ++w) n += count_subtrees(update::slices_of(init.slices, w, init.workers));
  return n;
}

}  // namespace

Table::Table(const update::Layout& layout, PartitionId id, const Init& init, update::Owner& owner, Memory& memory,
             ToWorkers& out)
    : layout_(layout),
      partition_(layout.partitions()[id.value]),
      id_(id),
      consistency_(init.consistency),
      policy_(init.policy),
      slices_(init.slices),
      owner_(owner),
      out_(out),
      versions_(memory, partition_.bytes),
      workers_(init.workers),
      held_(parts_of_step(init)),
      squares_(init.policy.watch_every > 0 ? partition_.segment_last - partition_.segment_first : 0) {
  contributions_.reserve(held_.size());
}

Status Table::initial(ConstBytes parameters) {
  if (version_.value >= 0) return {};
  if (parameters.size() != partition_.bytes) return corrupt("initial parameters of another size");
  publish(versions_.next(), parameters);
  version_ = Version(0);
  for (std::size_t w = 0; w < workers_.size(); ++w) answer(WorkerRank(static_cast<std::int32_t>(w)));
  return {};
}

/// Makes `values` the next version. next: what versions_.next() returned.
void Table::publish(Bytes next, ConstBytes values) {
  std::copy(values.begin(), values.end(), next.begin());
  versions_.publish();
  ++content_;
}

void Table::swap_averages() {
  const std::byte* values = versions_.current().data();
  owner_.swap_averages(id_, values, versions_.next().data());
  versions_.publish();
  ++content_;
}

bool Table::is_repeat(WorkerRank from, std::int64_t clock, const Push& push) const {
  if (clock <= workers_[from.value].clock || applied_.contains(push.step)) return true;
  return std::any_of(held_.begin(), held_.begin() + held_count_, [&](const Held& h) {
    return h.from == from && h.clock == clock && h.slices.first == push.slices.first;
  });
}

Status Table::check(const Push& push, ConstBytes gradient) const {
  if (version_.value < 0) return corrupt("a push before the initial parameters");
  const update::Bucket& bucket = layout_.buckets()[partition_.bucket];
  if (!update::fits(push.absent, static_cast<std::size_t>(bucket.parameter_last - bucket.parameter_first)))
    return corrupt("a list of absent parameters of another length");
  const bool whole = gradient.size() == partition_.bytes;
  if (!whole && !(gradient.empty() && layout_.is_all_absent(partition_, push.absent)))
    return corrupt("a gradient of another size");
  if (push.slices.count != slices_) {
    return invalid("a push cut into " + std::to_string(push.slices.count) + " slices, the job has " +
                   std::to_string(slices_));
  }
  const auto workers = static_cast<std::int32_t>(workers_.size());
  if ((push.is_sum && !is_sync()) || push.bad_worker >= workers ||
      push.bad_parameter >= static_cast<std::int32_t>(layout_.parameters().size()))
    return corrupt("a push that names what there is not");
  const bool subtree = is_subtree(push.slices), all = push.slices.size() == slices_;
  if (!(is_sync() ? subtree : all)) return corrupt("a push of slices that are not summed together");
  return {};
}

Status Table::push(WorkerRank from, std::int64_t clock, const Push& push, transport::Frame frame) {
  if (Status checked = check(push, frame.payload); !checked.ok()) return checked.context(context(from));
  if (is_repeat(from, clock, push)) {
    ++stats_.repeats;
    Ack ack = workers_[from.value].ack;
    ack.first = push.slices.first;
    if (clock == workers_[from.value].clock) {
      acknowledge(from, clock, ack);
    } else if (applied_.contains(push.step)) {
      acknowledge(from, clock, {0, version_, push.slices.first});
    } else if (clock < workers_[from.value].clock) {
      return corrupt("a new step with the clock of an old push").context(context(from));
    }
    return {};  // a contribution that is held is acknowledged when its step's update is made
  }
  if (Status held = hold(from, clock, push, std::move(frame)); !held.ok()) return held.context(context(from));
  if (!update_is_due(consistency_, covered_, slices_).yes) return {};
  gather();
  if (!is_sync()) {
    update({.factor = push.factor, .norm = {}});
  } else if (!owner_.needs_facts(step_)) {
    update(update::decide(policy_, {}, samples_));
  } else {
    measure();
  }
  return {};
}

Status Table::hold(WorkerRank from, std::int64_t clock, const Push& push, transport::Frame frame) {
  if (is_sync() && push.step.value != version_.value) {
    return corrupt("a push of step " + std::to_string(push.step.value) + " while step " +
                   std::to_string(version_.value) + " is gathered");
  }
  auto begin = held_.begin(), end = begin + held_count_;
  auto place = std::find_if(begin, end, [&](const Held& h) { return h.slices.first > push.slices.first; });
  const bool overlaps = std::any_of(begin, end, [&](const Held& h) { return overlap(h.slices, push.slices); });
  if (overlaps || held_count_ == held_.size()) return corrupt("two workers push the same slices");
  if (held_count_ > 0 && (push.samples > 0) != (held_[0].samples > 0)) {
    return invalid(std::string(kWeighAlike));
  }
  if (!is_sync() && !applied_.add(push.step)) return corrupt("a step far out of order");
  step_ = push.step.value;
  Held& h = held_[held_count_++];
  h.from = from;
  h.clock = clock;
  h.slices = push.slices;
  h.frame = std::move(frame);
  h.absent.assign(push.absent.begin(), push.absent.end());
  h.samples = push.samples;
  h.is_sum = push.is_sum;
  h.named = {};
  h.named.parameter = push.bad_parameter;
  h.named.worker = push.bad_worker;
  covered_ += push.slices.size();
  std::rotate(place, held_.begin() + held_count_ - 1, held_.begin() + held_count_);
  return {};
}

/// Collects the contributions of a complete step, in the order of their slices.
void Table::gather() {
  contributions_.clear();
  samples_ = 0;
  for (std::size_t i = 0; i < held_count_; ++i) {
    const Held& h = held_[i];
    contributions_.push_back({h.frame.payload, h.absent, h.slices, h.is_sum ? -1 : h.from.value});
    samples_ += h.samples;
  }
}

void Table::measure() {
  facts_ = {};
  owner_.measure(id_, contributions_, facts_, owner_.watches(step_) ? std::span(squares_) : std::span<double>());
  for (std::size_t i = 0; i < held_count_; ++i) facts_.merge(held_[i].named);
  measured_ = true;
}

void Table::apply(const update::StepPlan& plan) {
  measured_ = false;
  update(plan);
}

void Table::update(const update::StepPlan& plan) {
  const bool empty = std::ranges::all_of(contributions_, [](const auto& c) { return c.gradient.empty(); });
  const bool nothing = empty && !owner_.keeps_averages();  // averages change even without a gradient
  if ((plan.action == update::StepPlan::Action::apply || layout_.is_of_buffers(id_)) && !nothing) {
    const std::byte* in = versions_.current().data();
    if (owner_.apply(id_, contributions_, step_, plan, in, versions_.next().data())) {
      versions_.publish();
      ++content_;
    }
  }
  if (is_sync()) applied_.add(Step(version_.value));
  std::int64_t before = version_.value++;

  for (std::size_t i = 0; i < held_count_; ++i) {
    Held& h = held_[i];
    h.frame.release();
    Worker& w = workers_[h.from.value];
    std::int64_t of_others = is_sync() ? 0 : before - w.pulled.value - w.own_since;
    w.clock = h.clock;
    w.ack = {of_others, version_, h.slices.first};
    ++w.own_since;
    ++stats_.pushes;
    stats_.staleness_sum += of_others;
    stats_.staleness_max = std::max(stats_.staleness_max, of_others);
    acknowledge(h.from, h.clock, w.ack);
  }
  held_count_ = 0;
  covered_ = 0;
  for (std::size_t w = 0; w < workers_.size(); ++w) answer(WorkerRank(static_cast<std::int32_t>(w)));
}

void Table::acknowledge(WorkerRank to, std::int64_t clock, const Ack& ack) {
  body_.clear();
  Writer writer(body_);
  ack.encode(writer);
  send(to, Kind::ack, clock);
}

/// Sends a message whose body is body_.
void Table::send(WorkerRank to, Kind kind, std::int64_t clock, ConstBytes payload, std::shared_ptr<const void> keep) {
  out_.send(to, {.kind = static_cast<std::uint16_t>(kind),
                 .clock = clock,
                 .key = static_cast<std::uint64_t>(id_.value),
                 .body = body_,
                 .payload = payload,
                 .keep = std::move(keep)});
}

Status Table::pull(WorkerRank from, Version at_least, std::int64_t content) {
  if (at_least.value < 0) return corrupt("a pull of a version below zero").context(context(from));
  workers_[from.value].wanted = at_least.value;
  workers_[from.value].content = content;
  answer(from);
  return {};
}

void Table::answer(WorkerRank to) {
  Worker& w = workers_[to.value];
  if (w.wanted < 0 || version_.value < w.wanted) return;
  w.wanted = -1;
  w.pulled = version_;
  w.own_since = 0;
  body_.clear();
  Writer(body_).put(content_);
  if (w.content == content_) send(to, Kind::params, version_.value);
  else send(to, Kind::params, version_.value, versions_.current(), versions_.pin());
}

Status Table::assign(WorkerRank from, std::int64_t number, ConstBytes parameters) {
  if (number > assignments_) {
    if (is_amid_step()) return corrupt("new values while a step is gathered").context(context(from));
    if (parameters.size() != partition_.bytes) return corrupt("new values of another size").context(context(from));
    replace(parameters);
    assignments_ = number;
  }
  body_.clear();
  Writer(body_).put(content_);
  send(from, Kind::assigned, number);
  return {};
}

void Table::forget(WorkerRank worker) {
  Worker& w = workers_[worker.value];
  w.clock = -1;
  w.wanted = -1;
  if (worker.value == 0) assignments_ = -1;
}

std::string Table::context(WorkerRank from) const {
  return "worker " + std::to_string(from.value) + ", partition " + std::to_string(id_.value);
}

}  // namespace cohaul::ps
