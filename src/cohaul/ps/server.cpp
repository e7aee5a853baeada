#include "cohaul/ps/server.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "cohaul/checkpoint/folder.h"
#include "cohaul/ps/placement.h"

namespace cohaul::ps {

Server::Server(ServerRank rank, Memory& memory, ToWorkers& out, Disk* disk)
    : rank_(rank), memory_(memory), out_(out), disk_(disk) {}
Server::~Server() = default;

void Server::connected(WorkerRank worker, Incarnation incarnation) {
  if (worker.value < 0 || worker.value >= kWorkersMax) return;
  std::size_t w = worker.value;
  if (workers_.size() <= w) workers_.resize(w + 1);
  if (workers_[w].incarnation == incarnation) return;
  workers_[w].incarnation = incarnation;
  if (w == 0) swap_ = 0;
  for (auto& table : tables_) {
    if (table && w < static_cast<std::size_t>(init_->workers)) table->forget(worker);
  }
}

Status Server::on_frame(WorkerRank from, transport::Frame frame, Time now) {
  auto kind = static_cast<Kind>(frame.kind);
  if (kind == Kind::init) return on_init(from, frame);
  bool known = init_ && from.value >= 0 && from.value < init_->workers && workers_[from.value].introduced;
  if (!known) return corrupt("worker " + std::to_string(from.value) + " speaks before its init");
  if (workers_[from.value].gone)
    return peer_lost("worker " + std::to_string(from.value) + " has left, or was given up as lost");
  return on_known(from, kind, std::move(frame), now);
}

Status Server::on_init(WorkerRank from, const transport::Frame& frame) {
  COHAUL_ASSIGN(Init init, Init::decode(frame.body));
  std::string who = "worker " + std::to_string(from.value);
  if (from.value < 0 || from.value >= init.workers) return invalid(who + " is none of " + std::to_string(init.workers));
  if (!init_) COHAUL_TRY(set_up(init, frame.payload));
  if (init.layout_hash != init_->layout_hash) {
    return invalid(who + " trains another model: all workers must have the same parameters in the same order");
  }
  if (!(init == *init_)) {
    return invalid(who +
                   " has other settings than the workers before it: strategy, optimizer, clipping, workers, servers "
                   "and slices must be the same everywhere");
  }
  workers_[from.value].introduced = true;
  return {};
}

Status Server::set_up(const Init& init, ConstBytes encoded_layout) {
  if (init.servers > kServersMax || rank_.value >= init.servers) {
    return invalid("server " + std::to_string(rank_.value) + " of " + std::to_string(init.servers) +
                   ": there can be at most " + std::to_string(kServersMax) + " servers");
  }
  Reader in(encoded_layout);
  COHAUL_ASSIGN(update::Layout layout, update::Layout::decode(in));
  if (!in.done() || layout.hash() != init.layout_hash) return corrupt("a layout that is not what its hash says");
  if (Status fits = update::check_fits(layout, init.optimizer); !fits.ok()) return corrupt(fits.message());
  layout_ = std::make_unique<const update::Layout>(std::move(layout));

  std::vector<PartitionId> mine;
  std::size_t bytes = 0;
  for (std::size_t p = 0; p < layout_->partitions().size(); ++p) {
    PartitionId id(static_cast<std::int32_t>(p));
    if (server_of(id, init.servers) != rank_) continue;
    mine.push_back(id);
    bytes += aligned(layout_->partitions()[p].bytes);
  }
  // The current version, one version that each worker may be reading, and one to write into.
  COHAUL_TRY(memory_.reserve(bytes * (static_cast<std::size_t>(init.workers) + 2)));
  owner_ = std::make_unique<update::Owner>(*layout_, init.optimizer, init.policy, mine);
  tables_.resize(layout_->partitions().size());
  tables_here_ = mine.size();
  for (PartitionId id : mine) tables_[id.value] = std::make_unique<Table>(*layout_, id, init, *owner_, memory_, out_);
  if (rank_ == kCoordinator) {
    coordinator_.emplace(init.consistency, init.workers, init.slices, out_);
    frozen_.emplace(*layout_, init.workers, out_);
  }
  workers_.resize(std::max<std::size_t>(workers_.size(), init.workers));
  init_ = init;
  for (std::int32_t w = 0; w < init.workers; ++w) {
    if (workers_[w].gone) leave(WorkerRank(w));  // it was lost before the first init
  }
  return {};
}

Status Server::on_known(WorkerRank from, Kind kind, transport::Frame frame, Time now) {
  switch (kind) {
    case Kind::initial:
    case Kind::push:
    case Kind::assign:
    case Kind::pull: return on_table(from, kind, std::move(frame));
    case Kind::plan: return on_plan(from, frame);
    case Kind::rates: return on_rates(from, frame);
    case Kind::ready:
    case Kind::leave_loop:
    case Kind::step_done: return on_coordinator(from, kind, frame, now);
    case Kind::ask_stats: {
      body_.clear();
      Writer writer(body_);
      stats().encode(writer);
      coordinator_stats().encode(writer);
      send(from, Kind::stats, 0);
      return {};
    }
    case Kind::save:
    case Kind::restore: return on_disk(from, kind, frame);
    case Kind::swap: return on_swap(from, frame);
    case Kind::goodbye: leave(from); return {};
    default: return corrupt("a message of kind " + std::to_string(static_cast<int>(kind)) + ", which no worker sends");
  }
}

Status Server::on_table(WorkerRank from, Kind kind, transport::Frame frame) {
  if (frozen_ && frame.key == frozen_key(*layout_)) return on_frozen(from, kind, frame);
  if (frame.key >= tables_.size() || !tables_[frame.key]) {
    return corrupt("worker " + std::to_string(from.value) + ", partition " + std::to_string(frame.key) +
                   ": not one of server " + std::to_string(rank_.value));
  }
  Table& table = *tables_[frame.key];
  if (kind == Kind::pull) {
    COHAUL_ASSIGN(auto content, decode_value<std::int64_t>(frame.body, "pull"));
    return table.pull(from, Version(frame.clock), content);
  }
  if (kind == Kind::push) return on_push(from, table, std::move(frame));
  if (from.value != 0) return corrupt("values from another than worker 0");
  if (kind == Kind::assign) return table.assign(from, frame.clock, frame.payload);
  return table.initial(frame.payload);
}

Status Server::on_push(WorkerRank from, Table& table, transport::Frame frame) {
  COHAUL_ASSIGN(Push push, Push::decode(frame.body));
  std::int64_t clock = frame.clock;
  if (clock < 0) return corrupt("a push with a clock below zero");
  const bool before = table.is_measured();
  COHAUL_TRY(table.push(from, clock, push, std::move(frame)));
  if (before || !table.is_measured()) return {};
  if (++measured_ < tables_here_) return {};
  step_ = push.step.value;
  send_facts();
  return {};
}

void Server::send_facts() {
  Measured here;
  std::shared_ptr<std::vector<double>> squares;
  if (owner_->watches(step_)) squares = std::make_shared<std::vector<double>>();
  for (const auto& table : tables_) {
    if (!table) continue;
    here.facts.merge(table->facts());
    here.samples = table->samples();  // the same at each table, because each has all slices
    if (squares) squares->insert(squares->end(), table->squares().begin(), table->squares().end());
  }
  body_.clear();
  Writer writer(body_);
  here.encode(writer);
  for (std::int32_t w = 0; w < init_->workers; ++w) {
    if (!workers_[w].gone)
      send(WorkerRank(w), Kind::facts, step_, squares ? std::as_bytes(std::span(*squares)) : ConstBytes(), squares);
  }
}

/// Takes a worker's plan for a step. All workers make the same decision, so the first plan that arrives is used.
Status Server::on_plan(WorkerRank from, const transport::Frame& frame) {
  const auto broken = [&](const char* why) {
    return corrupt("worker " + std::to_string(from.value) + ", step " + std::to_string(frame.clock) + ": " + why);
  };
  Reader in(frame.body);
  COHAUL_ASSIGN(update::StepPlan plan, update::StepPlan::decode(in));
  const bool sound = std::isfinite(plan.factor) && plan.action != update::StepPlan::Action::stop;
  if (!in.done() || !sound) return broken("a plan that nobody can make");
  if (last_plan_ && frame.clock < step_) {
    if (frame.clock == step_ - 1 && plan != *last_plan_) return broken("another plan than the workers before");
    return {};
  }
  if (frame.clock != step_ || tables_here_ == 0 || measured_ != tables_here_)
    return broken("a plan before all gradients are here");
  measured_ = 0;
  ++step_;
  last_plan_ = plan;
  for (auto& table : tables_) {
    if (table) table->apply(plan);
  }
  return {};
}

/// Takes new learning rates. Every worker sends them before its next push. The first message counts: when it comes, the earlier steps of all workers
/// are done.
Status Server::on_rates(WorkerRank from, const transport::Frame& frame) {
  COHAUL_ASSIGN(Rates said, Rates::decode(frame.body));
  const std::string who = "worker " + std::to_string(from.value);
  if (said.rates.size() != init_->optimizer.groups.size())
    return corrupt(who + ": learning rates of another number of groups");
  if (frame.clock <= rates_set_) {
    if (frame.clock < rates_set_ || said.rates == rates_) return {};
    return invalid(who + " sets other learning rates than the workers before it: they must be the same everywhere");
  }
  rates_set_ = frame.clock;
  rates_ = std::move(said.rates);
  owner_->set_rates(rates_);
  return {};
}

/// Swaps parameters and their averages. A repeated request is only answered.
Status Server::on_swap(WorkerRank from, const transport::Frame& frame) {
  const std::string who = "worker " + std::to_string(from.value);
  if (from.value != 0) return corrupt(who + " swaps averages, which is worker 0's to do");
  for (const auto& table : tables_)
    if (table && table->is_amid_step()) return corrupt(who + " swaps averages while a step is gathered");
  if (frame.clock > swap_) {
    for (const auto& table : tables_)
      if (table) table->swap_averages();
    swap_ = frame.clock;
  }
  body_.clear();
  send(from, Kind::swapped, frame.clock);
  return {};
}

/// Sends a message whose body is body_.
void Server::send(WorkerRank to, Kind kind, std::int64_t clock, ConstBytes payload, std::shared_ptr<const void> keep) {
  out_.send(to, {.kind = static_cast<std::uint16_t>(kind),
                 .clock = clock,
                 .key = 0,
                 .body = body_,
                 .payload = payload,
                 .keep = std::move(keep)});
}

Status Server::on_disk(WorkerRank from, Kind kind, const transport::Frame& frame) {
  const std::string who = "worker " + std::to_string(from.value);
  if (from.value != 0) return corrupt(who + " asks for a checkpoint, which is worker 0's to do");
  if (disk_ == nullptr) return unsupported("this server has no disk");
  for (const auto& table : tables_)
    if (table && table->is_amid_step()) return corrupt(who + " asks for a checkpoint while a step is gathered");
  return kind == Kind::save ? save(from, frame) : restore(from, frame);
}

/// Returns the owner's pieces. Their values are copied to `values`, one partition after the other.
std::vector<update::StatePiece> Server::pieces(std::vector<std::byte>& values) {
  std::vector<std::size_t> begins(tables_.size());
  std::size_t bytes = 0;
  for (std::size_t p = 0; p < tables_.size(); ++p) {
    begins[p] = bytes;
    if (tables_[p]) bytes += layout_->partitions()[p].bytes;
  }
  values.resize(bytes);
  return owner_->pieces([&](PartitionId id) { return values.data() + begins[static_cast<std::size_t>(id.value)]; });
}

Status Server::save(WorkerRank to, const transport::Frame& frame) {
  COHAUL_ASSIGN(const Save question, Save::decode(frame.body));
  if (question.key.empty()) {
    COHAUL_TRY(disk_->look(question.folder, question.mark));
    body_.clear();
    send(to, Kind::saved, frame.clock);
    return {};
  }
  std::vector<std::byte> values;
  const std::vector<update::StatePiece> mine = pieces(values);
  auto* next = values.data();
  for (const auto& table : tables_)
    if (table) next = std::ranges::copy(table->values(), next).out;
  const std::string name = checkpoint::kOwnerPrefix + std::to_string(rank_.value) + ".safetensors";
  disk_->save(question.folder, name, question.key + std::to_string(rank_.value), *layout_, mine);
  body_.clear();
  send(to, Kind::saved, frame.clock);
  return {};
}

Status Server::restore(WorkerRank to, const transport::Frame& frame) {
  COHAUL_ASSIGN(const Restore question, Restore::decode(frame.body));
  std::vector<std::byte> values;
  const std::vector<update::StatePiece> mine = pieces(values);
  COHAUL_TRY(disk_->restore(question.checkpoint, *layout_, mine));
  ConstBytes left = values;
  for (auto& table : tables_) {
    if (!table) continue;
    const std::size_t bytes = table->values().size();
    table->replace(left.first(bytes));
    left = left.subspan(bytes);
  }
  owner_->set_first(question.updates);
  body_.clear();
  send(to, Kind::restored, frame.clock);
  return {};
}

Status Server::on_frozen(WorkerRank from, Kind kind, const transport::Frame& frame) {
  if (kind == Kind::pull) {
    frozen_->pull(from);
    return {};
  }
  if (kind != Kind::initial || from.value != 0) return corrupt("frozen parameters are worker 0's, and never pushed");
  return frozen_->initial(frame.payload);
}

Status Server::on_coordinator(WorkerRank from, Kind kind, const transport::Frame& frame, Time now) {
  if (!coordinator_) return corrupt("a message for the coordinator at server " + std::to_string(rank_.value));
  if (kind == Kind::ready) {
    COHAUL_ASSIGN(Ready ready, Ready::decode(frame.body));
    return coordinator_->ready(from, frame.clock, ready, now);
  }
  if (kind == Kind::leave_loop) {
    COHAUL_ASSIGN(LeaveLoop leave, LeaveLoop::decode(frame.body));
    return coordinator_->leave_loop(from, frame.clock, leave, now);
  }
  COHAUL_ASSIGN(StepDone done, StepDone::decode(frame.body));
  return coordinator_->step_done(from, Step(frame.clock), done, now);
}

void Server::lost(WorkerRank worker) {
  if (worker.value < 0 || worker.value >= kWorkersMax) return;
  if (workers_.size() <= static_cast<std::size_t>(worker.value)) workers_.resize(worker.value + 1);
  if (!workers_[worker.value].gone) leave(worker);
}

void Server::leave(WorkerRank worker) {
  workers_[worker.value].gone = true;
  if (!init_ || worker.value >= init_->workers) return;
  ++gone_;
  for (auto& table : tables_) {
    if (table) table->forget(worker);
  }
  if (frozen_) frozen_->forget(worker);
  if (coordinator_) coordinator_->gone(worker);
}

Stats Server::stats() const {
  Stats sum;
  for (const auto& table : tables_) {
    if (!table) continue;
    sum.pushes += table->stats().pushes;
    sum.repeats += table->stats().repeats;
    sum.staleness_sum += table->stats().staleness_sum;
    sum.staleness_max = std::max(sum.staleness_max, table->stats().staleness_max);
  }
  return sum;
}

std::size_t Server::memory_bytes() const {
  std::size_t bytes = owner_ ? owner_->state_bytes() : 0;
  for (const auto& table : tables_) bytes += table ? table->memory_bytes() : 0;
  return bytes;
}

}  // namespace cohaul::ps
