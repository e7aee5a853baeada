#include "cohaul/ps/session.h"

#include <algorithm>
#include <cstring>

#include "cohaul/ps/frozen.h"
#include "cohaul/ps/placement.h"

namespace cohaul::ps {

Session::Session(const update::Layout& layout, const Init& init, WorkerRank rank, Bytes parameters, ToServers& out)
    : layout_(layout), init_(init), rank_(rank), parameters_(parameters), out_(out), pushed_(layout.runs().size()) {
  partitions_.resize(layout.partitions().size());
  std::size_t segments = 0;
  for (std::size_t p = 0; p < partitions_.size(); ++p) {
    partitions_[p].server = server_of(PartitionId(static_cast<std::int32_t>(p)), init.servers);
    segments =
        std::max<std::size_t>(segments, layout.partitions()[p].segment_last - layout.partitions()[p].segment_first);
  }
  if (frozen_bytes(layout) > 0) partitions_.push_back({.server = kCoordinator});
  absent_bits_.reserve((segments + 7) / 8);
  body_.reserve(64 + absent_bits_.capacity());
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
  pull_all();
}

void Session::pull(std::int32_t partition, std::int64_t at_least) {
  PartitionState& p = partitions_[partition];
  if (p.wanted < 0) ++params_missing_;
  p.wanted = at_least;
  send(p.server, Kind::pull, at_least, static_cast<std::uint64_t>(partition));
}

void Session::pull_all() {
  for (std::size_t p = 0; p < layout_.partitions().size(); ++p)
    pull(static_cast<std::int32_t>(p), partitions_[p].version);
}

void Session::ask(const update::Loop& loop) {
  Writer writer(body_);
  Ready{loop}.encode(writer);
  granted_.reset();
  await(Kind::grant, 1);
  send(kCoordinator, Kind::ready, clock_, 0);
}

Status Session::begin(const update::Work& work, const update::StepSettings& settings) {
  if (work_ || busy()) return invalid("a step begins before the one before it is finished");
  if (work.slices.count != init_.slices) {
    return invalid("a step of " + std::to_string(work.slices.count) + " slices, the job has " +
                   std::to_string(init_.slices));
  }
  work_ = work;
  step_ = work.step;
  step_clock_ = clock_;
  settings_ = settings;
  staleness_ = 0;
  pushed_.assign(pushed_.size(), false);
  return {};
}

Status Session::push(std::int32_t run, ConstBytes gradient, std::span<const std::int32_t> absent) {
  if (!work_) return invalid("a gradient outside a step");
  if (run < 0 || static_cast<std::size_t>(run) >= pushed_.size() || pushed_[run]) {
    return invalid("run " + std::to_string(run) + " is pushed twice, or does not exist");
  }
  const update::Run& r = layout_.runs()[run];
  if (gradient.size() != r.bytes) return invalid("the gradient of run " + std::to_string(run) + " has another size");
  pushed_[run] = true;
  for (std::int32_t p = r.partition_first; p < r.partition_last; ++p) {
    const update::Partition& partition = layout_.partitions()[p];
    encode_push(p, absent);
    partitions_[p].ack = true;
    ++acks_missing_;
    send(partitions_[p].server, Kind::push, clock_, static_cast<std::uint64_t>(p),
         gradient.subspan(partition.offset - r.offset, partition.bytes));
    // The answer to this pull is the step's end: push and pull make one round trip.
    if (is_sync()) pull(p, work_->step.value + 1);
  }
  return {};
}

void Session::encode_push(std::int32_t partition, std::span<const std::int32_t> absent) {
  const update::Partition& p = layout_.partitions()[partition];
  absent_bits_.clear();
  for (std::uint32_t s = p.segment_first; !absent.empty() && s < p.segment_last; ++s) {
    if (std::find(absent.begin(), absent.end(), layout_.segments()[s].parameter) == absent.end()) continue;
    absent_bits_.resize((p.segment_last - p.segment_first + 7) / 8);
    std::uint32_t i = s - p.segment_first;
    absent_bits_[i / 8] |= std::byte{1} << (i % 8);
  }
  Writer writer(body_);
  Push{work_->step, work_->slices, settings_, absent_bits_}.encode(writer);
}

Status Session::finish(double loss) {
  if (!work_) return invalid("the end of a step that was not begun");
  auto missing = std::find(pushed_.begin(), pushed_.end(), false);
  if (missing != pushed_.end()) {
    return invalid("run " + std::to_string(missing - pushed_.begin()) + " was not pushed in this step");
  }
  outcome_ = {};
  outcome_.loss = loss;
  finishing_ = true;
  if (is_sync()) await(Kind::step_report, 1);
  // Asynchronous: the coordinator hears of a push when all servers have acknowledged it; its grants depend on that.
  if (is_sync() || acks_missing_ == 0) step_done();
  return {};
}

void Session::step_done() {
  Writer writer(body_);
  StepDone{outcome_.loss, work_->slices, staleness_}.encode(writer);
  send(kCoordinator, Kind::step_done, work_->step.value, 0);
  outcome_.staleness = static_cast<double>(staleness_);
  ++clock_;
  finishing_ = false;
  work_.reset();
}

void Session::ask_stats() {
  tables_ = coordinator_ = {};
  await(Kind::stats, init_.servers);
  for (std::int32_t k = 0; k < init_.servers; ++k) send(ServerRank(k), Kind::ask_stats, 0, 0);
}

void Session::goodbye() {
  for (std::int32_t k = 0; k < init_.servers; ++k) send(ServerRank(k), Kind::goodbye, 0, 0);
}

Status Session::on_frame(ServerRank from, transport::Frame frame) {
  switch (static_cast<Kind>(frame.kind)) {
    case Kind::ack: return on_ack(frame);
    case Kind::params: return on_params(frame);
    case Kind::stats: return on_stats(frame);
    case Kind::grant:
    case Kind::finished:
      if (frame.clock != clock_ || !awaits(Kind::grant)) return {};  // an answer to a repeated question
      if (static_cast<Kind>(frame.kind) == Kind::grant) granted_ = Step(static_cast<std::int64_t>(frame.key));
      --answers_missing_;
      pull_all();
      return {};
    case Kind::step_report: {
      if (Step(frame.clock) != step_ || !awaits(Kind::step_report)) return {};  // to a repeated end of a step
      COHAUL_ASSIGN(outcome_.loss, decode_value<double>(frame.body, "step report"));
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
  PartitionState& p = partitions_[frame.key];
  if (!p.ack || frame.clock != step_clock_) return {};  // of a repeated push
  p.ack = false;
  p.version = std::max(p.version, ack.version.value);
  staleness_ = std::max(staleness_, ack.staleness);
  if (--acks_missing_ == 0 && finishing_) step_done();
  return {};
}

Status Session::on_params(const transport::Frame& frame) {
  if (frame.key >= partitions_.size()) return corrupt("parameters of a partition that does not exist");
  PartitionState& p = partitions_[frame.key];
  if (p.wanted < 0 || frame.clock < p.wanted) return {};
  bool frozen = frame.key == frozen_key(layout_);
  if (frame.payload.size() != (frozen ? frozen_bytes(layout_) : layout_.partitions()[frame.key].bytes)) {
    return corrupt("parameters of another size");
  }
  if (frozen) {
    scatter_frozen(layout_, frame.payload, parameters_);
  } else if (std::byte* to = parameters_.data() + layout_.partitions()[frame.key].offset; to != frame.payload.data()) {
    std::memcpy(to, frame.payload.data(), frame.payload.size());
  }
  p.wanted = -1;
  p.version = std::max(p.version, frame.clock);
  --params_missing_;
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

Bytes Session::place(std::uint16_t kind, std::uint64_t key, std::uint64_t length) {
  if (static_cast<Kind>(kind) != Kind::params || key >= layout_.partitions().size()) return {};
  if (partitions_[key].wanted < 0) return {};
  const update::Partition& partition = layout_.partitions()[key];
  if (length != partition.bytes) return {};
  return parameters_.subspan(partition.offset, length);
}

std::string Session::missing() const {
  std::int64_t others = -1;
  std::string text;
  for (std::size_t p = 0; p < partitions_.size(); ++p) {
    if (!partitions_[p].ack && partitions_[p].wanted < 0) continue;
    if (++others > 0) continue;
    text = "server " + std::to_string(partitions_[p].server.value) + ": the " +
           (partitions_[p].ack ? "update" : "parameters") + " of partition " + std::to_string(p);
  }
  if (others > 0) text += " and of " + std::to_string(others) + " others";
  if (answers_missing_ > 0) {
    const char* what = awaits(Kind::grant)   ? "the next step number"
                       : awaits(Kind::stats) ? "its counts"
                                             : "the step's loss";
    text += std::string(text.empty() ? "" : "; ") + (awaits(Kind::stats) ? "a server: " : "server 0: ") + what;
  }
  return text;
}

}  // namespace cohaul::ps
