#include "cohaul/ps/table.h"

#include <algorithm>
#include <string>

namespace cohaul::ps {

Table::Table(const update::Layout& layout, PartitionId id, const Init& init, update::Owner& owner, Memory& memory,
             ToWorkers& out)
    : layout_(layout),
      partition_(layout.partitions()[id.value]),
      id_(id),
      consistency_(init.consistency),
      slices_(init.slices),
      owner_(owner),
      out_(out),
      versions_(memory, partition_.bytes),
      workers_(init.workers),
      held_(init.workers) {
  contributions_.reserve(held_.size());
}

Status Table::initial(ConstBytes parameters) {
  if (version_.value >= 0) return {};
  if (parameters.size() != partition_.bytes) return corrupt("initial parameters of another size");
  Bytes to = versions_.next();
  std::copy(parameters.begin(), parameters.end(), to.begin());
  versions_.publish();
  version_ = Version(0);
  for (std::size_t w = 0; w < workers_.size(); ++w) answer(WorkerRank(static_cast<std::int32_t>(w)));
  return {};
}

bool Table::is_repeat(WorkerRank from, std::int64_t clock, const Push& push) const {
  if (clock <= workers_[from.value].clock || applied_.contains(push.step)) return true;
  return std::any_of(held_.begin(), held_.begin() + held_count_,
                     [&](const Held& h) { return h.from == from && h.clock == clock; });
}

Status Table::push(WorkerRank from, std::int64_t clock, const Push& push, transport::Frame frame) {
  if (version_.value < 0) return corrupt("a push before the initial parameters").context(context(from));
  if (frame.payload.size() != partition_.bytes) return corrupt("a gradient of another size").context(context(from));
  if (push.slices.count != slices_) {
    return invalid("a push cut into " + std::to_string(push.slices.count) + " slices, the job has " +
                   std::to_string(slices_))
        .context(context(from));
  }
  if (is_repeat(from, clock, push)) {
    ++stats_.repeats;
    if (clock == workers_[from.value].clock) {
      acknowledge(from, clock, workers_[from.value].ack);
    } else if (applied_.contains(push.step)) {
      acknowledge(from, clock, {0, version_});
    } else if (clock < workers_[from.value].clock) {
      return corrupt("a new step with the clock of an old push").context(context(from));
    }
    return {};  // one that is held is acknowledged when its step is made
  }
  if (Status held = hold(from, clock, push, std::move(frame)); !held.ok()) return held.context(context(from));
  std::int32_t covered = consistency_.kind == Consistency::Kind::sync ? covered_ : slices_;
  if (update_is_due(consistency_, covered, slices_).yes) update();
  return {};
}

Status Table::hold(WorkerRank from, std::int64_t clock, const Push& push, transport::Frame frame) {
  bool sync = consistency_.kind == Consistency::Kind::sync;
  if (sync && push.step.value != version_.value) {
    return corrupt("a push of step " + std::to_string(push.step.value) + " while step " +
                   std::to_string(version_.value) + " is gathered");
  }
  auto begin = held_.begin(), end = begin + held_count_;
  auto place = std::find_if(begin, end, [&](const Held& h) { return h.slices.first > push.slices.first; });
  bool overlaps = (place != begin && (place - 1)->slices.last > push.slices.first) ||
                  (place != end && push.slices.last > place->slices.first);
  if (overlaps || held_count_ == held_.size()) return corrupt("two workers push the same slices");
  if (held_count_ > 0 && push.settings.lr != settings_.lr) {
    return invalid("learning rate " + std::to_string(push.settings.lr) + ", another worker's is " +
                   std::to_string(settings_.lr) + ": all workers of a step must use the same");
  }
  COHAUL_TRY(read_absent(push.absent, held_[held_count_].absent));
  if (!applied_.contains(push.step) && !sync && !applied_.add(push.step)) return corrupt("a step far out of order");
  settings_ = push.settings;
  Held& h = held_[held_count_++];
  h.from = from;
  h.clock = clock;
  h.slices = push.slices;
  h.frame = std::move(frame);
  covered_ += push.slices.last - push.slices.first;
  std::rotate(place, held_.begin() + held_count_ - 1, held_.begin() + held_count_);
  return {};
}

Status Table::read_absent(ConstBytes bits, std::vector<std::int32_t>& absent) const {
  absent.clear();
  if (bits.empty()) return {};
  std::size_t n = partition_.segment_last - partition_.segment_first;
  if (bits.size() != (n + 7) / 8) return corrupt("a list of absent parameters of another length");
  for (std::size_t i = 0; i < n; ++i) {
    if ((bits[i / 8] >> (i % 8) & std::byte{1}) == std::byte{1}) {
      absent.push_back(layout_.segments()[partition_.segment_first + i].parameter);
    }
  }
  return {};
}

void Table::update() {
  contributions_.clear();
  for (std::size_t i = 0; i < held_count_; ++i) contributions_.push_back({held_[i].frame.payload, held_[i].absent});
  const std::byte* in = versions_.current().data();
  owner_.apply(id_, contributions_, settings_, in, versions_.next().data());
  versions_.publish();
  if (consistency_.kind == Consistency::Kind::sync) applied_.add(Step(version_.value));
  std::int64_t before = version_.value++;

  for (std::size_t i = 0; i < held_count_; ++i) {
    Held& h = held_[i];
    h.frame.release();
    Worker& w = workers_[h.from.value];
    std::int64_t of_others = consistency_.kind == Consistency::Kind::sync ? 0 : before - w.pulled.value - w.own_since;
    w.clock = h.clock;
    w.ack = {of_others, version_};
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
  out_.send(to, {.kind = static_cast<std::uint16_t>(Kind::ack),
                 .clock = clock,
                 .key = static_cast<std::uint64_t>(id_.value),
                 .body = body_,
                 .payload = {},
                 .keep = nullptr});
}

Status Table::pull(WorkerRank from, Version at_least) {
  if (at_least.value < 0) return corrupt("a pull of a version below zero").context(context(from));
  workers_[from.value].wanted = at_least.value;
  answer(from);
  return {};
}

void Table::answer(WorkerRank to) {
  Worker& w = workers_[to.value];
  if (w.wanted < 0 || version_.value < w.wanted) return;
  w.wanted = -1;
  w.pulled = version_;
  w.own_since = 0;
  out_.send(to, {.kind = static_cast<std::uint16_t>(Kind::params),
                 .clock = version_.value,
                 .key = static_cast<std::uint64_t>(id_.value),
                 .body = {},
                 .payload = versions_.current(),
                 .keep = versions_.pin()});
}

void Table::forget(WorkerRank worker) {
  Worker& w = workers_[worker.value];
  w.clock = -1;
  w.wanted = -1;
}

std::string Table::context(WorkerRank from) const {
  return "worker " + std::to_string(from.value) + ", partition " + std::to_string(id_.value);
}

}  // namespace cohaul::ps
