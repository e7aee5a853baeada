#include "cohaul/sim/worker.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "cohaul/base/check.h"
#include "cohaul/sim/stub.h"

namespace cohaul::sim {

Worker::Worker(const Scenario& scenario, const update::Layout& layout, const ps::Init& init, std::int32_t rank,
               Heart heart, Witness& witness, Saving& saving)
    : Process({transport::Role::worker, rank}, std::move(heart), scenario),
      layout_(layout),
      rank_(rank),
      witness_(witness),
      saving_(saving),
      random_(scenario.seed, 100 + rank),
      // All workers start with worker 0's parameters; those of the others must be overwritten.
      parameters_(layout.bytes() / sizeof(double), rank == 0 ? 1.0 : -1e9),
      session_(layout, init, WorkerRank(rank), {reinterpret_cast<std::byte*>(parameters_.data()), layout.bytes()},
               *this) {
  work_.slices = {0, scenario.slices, scenario.slices};
  if (scenario.is_sync()) work_.slices = update::slices_of(scenario.slices, rank, scenario.workers);
  parts_ = update::subtrees_of(work_.slices);
  auto arena = transport::Arena::create("gradients", parts_.size() * layout.bytes());
  COHAUL_CHECK(arena.ok(), "an arena for the gradients");
  arena_ = std::move(*arena);
  gradients_ = {reinterpret_cast<double*>(arena_.bytes().data()), parts_.size() * parameters_.size()};
}

void Worker::connected(std::unique_ptr<transport::Channel> channel) {
  COHAUL_CHECK(channel->lend(arena_).ok(), "an arena is lent");
  channel->set_place([this](std::uint16_t kind, std::int64_t clock, std::uint64_t key, std::uint64_t length) {
    return session_.place(kind, clock, key, length);
  });
  auto outgoing = std::make_unique<ps::Outgoing>(*channel);
  links_.push_back({std::move(channel), std::move(outgoing)});
}

std::vector<std::unique_ptr<transport::Channel>*> Worker::links() {
  std::vector<std::unique_ptr<transport::Channel>*> out;
  for (Link& link : links_) out.push_back(&link.channel);
  return out;
}

void Worker::work(Time now) {
  if (phase_ == Phase::done) return write(now);
  if (phase_ == Phase::joining) {
    phase_ = Phase::starting;
    session_.start();
  }
  Status status;
  if (!is_computing(now)) status = receive();
  if (status.ok() && phase_ == Phase::computing && now >= computed_at_) {
    push_bucket();
    if (is_time_to_leave()) {
      status = leave_loop();
    } else if (buckets_pushed_ < parts_.size() * layout_.buckets().size()) {
      compute_bucket(now);
    } else {
      phase_ = Phase::finishing;
      status = session_.finish(stub_ends(work_.step, work_.slices));
    }
  }
  if (status.ok() && !session_.busy()) advance(now);
  write(now);
  Result<bool> all_sent = flush();
  if (status.ok()) status = all_sent.status();
  if (!status.ok()) return fail(std::move(status));
  if (phase_ == Phase::leaving && *all_sent) phase_ = Phase::done;
}

Status Worker::receive() {
  for (std::size_t k = 0; k < links_.size() && phase_ != Phase::leaving; ++k) {
    ServerRank server(static_cast<std::int32_t>(k));
    for (;;) {
      COHAUL_ASSIGN(auto frame, links_[k].channel->receive());
      if (!frame) break;
      witness_.on_heard(rank_, *frame);
      COHAUL_TRY(session_.on_frame(server, std::move(*frame)));
    }
  }
  return {};
}

Result<bool> Worker::flush() {
  bool all = true;
  for (Link& link : links_) {
    COHAUL_ASSIGN(bool sent, link.outgoing->flush());
    all &= sent;
  }
  return all;
}

/// Begins the next phase; the session has all that it asked for.
void Worker::advance(Time now) {
  bool sync = scenario_.is_sync();
  if (phase_ == Phase::meeting || phase_ == Phase::saving) return meet_or_save(now);
  if (phase_ == Phase::computing || phase_ == Phase::leaving) return;
  if (phase_ == Phase::finishing) {
    std::fill(gradients_.begin(), gradients_.end(), std::numeric_limits<double>::quiet_NaN());
    said_.clear();
    ++steps_done_;
    if (!sync && session_.outcome().skipped) witness_.on_skipped(rank_, work_.step);
  }
  if (!sync && phase_ == Phase::leaving_loop && !end_loop()) return ask();
  if (!sync && phase_ != Phase::asking) return ask();
  bool is_over = sync ? next_step_ == scenario_.all_steps() : !session_.granted().has_value();
  bool is_last = is_over && loop_ + 1 >= scenario_.loops;
  witness_.on_look({rank_, parameters_, session_.outcome(), is_over, sync ? is_over : is_last});
  if (sync && next_step_ == scenario_.save_after && !std::exchange(has_saved_, true)) {
    ++saving_.arrived;
    phase_ = Phase::meeting;
    return meet_or_save(now);
  }
  if (!is_over) return compute(sync ? Step(next_step_++) : *session_.granted(), now);
  if (!sync && !end_loop()) return ask();
  phase_ = Phase::leaving;
  session_.goodbye();
}

/// Does what the trainer does: all workers meet, worker 0 lets the servers copy what they keep, and training continues after that.
void Worker::meet_or_save(Time now) {
  if (saving_.arrived < scenario_.workers) return;
  if (phase_ == Phase::meeting && rank_ == 0) {
    phase_ = Phase::saving;
    session_.save({"folder", "key/", {}});
    return;
  }
  if (phase_ == Phase::saving) saving_.copied = commits_ = true;
  if (!saving_.copied) return;
  written_at_ = now + 1 + static_cast<Duration>(random_.below(scenario_.compute_max));
  compute(Step(next_step_++), now);
}

/// Writes this worker's file, as a thread would in the background.
void Worker::write(Time now) {
  if (now >= written_at_) {
    written_at_ = kForever;
    saving_.workers_said.insert(rank_);
  }
  const auto all = [](const std::set<std::int32_t>& said, std::int32_t count) {
    return static_cast<std::int32_t>(said.size()) == count;
  };
  if (!commits_ || !all(saving_.workers_said, scenario_.workers) || !all(saving_.servers_said, scenario_.servers))
    return;
  commits_ = false;
  saving_.committed = true;
}

/// Goes on to the next loop. Returns true if the loop was the last.
bool Worker::end_loop() { return ++loop_ >= scenario_.loops; }

void Worker::ask() {
  phase_ = Phase::asking;
  const std::string facts = loop_facts(loop_);
  update::Loop loop{.end = scenario_.steps, .number = loop_, .facts = facts};
  COHAUL_CHECK(session_.ask(loop).ok(), "a step is asked for");
}

/// Returns whether to leave the loop now: when so many steps are done as the scenario says, and nothing of the next one has been sent.
bool Worker::is_time_to_leave() const {
  const auto& leave = scenario_.leave;
  return leave && leave->worker == rank_ && loop_ == 0 && steps_done_ == leave->after && !session_.is_amid_step();
}

Status Worker::leave_loop() {
  phase_ = Phase::leaving_loop;
  COHAUL_TRY(session_.abandon());
  session_.leave_loop(loop_, scenario_.leave->stop);
  return {};
}

void Worker::compute(Step step, Time now) {
  if (is_time_to_leave() && !scenario_.policy.needs_facts()) {
    COHAUL_CHECK(leave_loop().ok(), "a loop is left");
    return;
  }
  work_.step = step;
  phase_ = Phase::computing;
  buckets_pushed_ = 0;
  const bool begins_loop = scenario_.is_sync() && step.value % scenario_.steps == 0;
  const std::string facts = begins_loop ? loop_facts(step.value / scenario_.steps) : "";
  COHAUL_CHECK(session_.begin(work_, facts).ok(), "a step begins");
  compute_bucket(now);
}

void Worker::compute_bucket(Time now) {
  computed_at_ = now + 1 + static_cast<Duration>(random_.below(scenario_.compute_max)) + std::exchange(slower_, 0);
}

/// Pushes one bucket, as in backward: part after part, the last bucket first.
void Worker::push_bucket() {
  const std::size_t buckets = layout_.buckets().size(), part = buckets_pushed_ / buckets;
  std::size_t r = buckets - 1 - buckets_pushed_++ % buckets;
  const update::Bucket& bucket = layout_.buckets()[r];
  std::span<double> gradient =
      gradients_.subspan(part * parameters_.size() + bucket.offset / sizeof(double), bucket.bytes / sizeof(double));
  fill_gradient(scenario_, bucket, work_.step, parts_[part], gradient);
  Status pushed = session_.push(
      {.part = static_cast<std::int32_t>(part), .bucket = static_cast<std::int32_t>(r), .bytes = as_bytes(gradient)});
  COHAUL_CHECK(pushed.ok(), "a bucket is pushed");
  if (said_.empty() || random_.uniform() >= scenario_.repeat_rate) return;
  Said& again = said_[random_.below(said_.size())];
  again.message.body = again.body;
  (void)links_[again.to.value].outgoing->send(again.message).ok();
}

/// Sends a message, sometimes several times, as a sender without an answer would.
void Worker::send(ServerRank to, const transport::Message& message) {
  auto kind = static_cast<ps::Kind>(message.kind);
  bool may_repeat = kind == ps::Kind::push || kind == ps::Kind::ready || kind == ps::Kind::step_done ||
                    kind == ps::Kind::plan || kind == ps::Kind::leave_loop;
  int copies = may_repeat && random_.uniform() < scenario_.repeat_rate ? 2 + static_cast<int>(random_.below(2)) : 1;
  // If the channel cannot send, it cannot receive either, and receive() notices that.
  for (int i = 0; i < copies; ++i) (void)links_[to.value].outgoing->send(message).ok();
  if (kind == ps::Kind::push) said_.push_back({to, message, {message.body.begin(), message.body.end()}});
}

}  // namespace cohaul::sim
