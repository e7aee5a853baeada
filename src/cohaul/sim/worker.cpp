#include "cohaul/sim/worker.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "cohaul/base/check.h"
#include "cohaul/sim/stub.h"

namespace cohaul::sim {

Worker::Worker(const Scenario& scenario, const update::Layout& layout, const ps::Init& init, std::int32_t rank,
               Heart heart, Witness& witness)
    : Process({transport::Role::worker, rank}, std::move(heart), scenario.goes_on),
      scenario_(scenario),
      layout_(layout),
      rank_(rank),
      witness_(witness),
      random_(scenario.seed, 100 + rank),
      // Worker 0's are what all start from; the others' must be overwritten.
      parameters_(layout.bytes() / sizeof(double), rank == 0 ? 1.0 : -1e9),
      session_(layout, init, WorkerRank(rank), {reinterpret_cast<std::byte*>(parameters_.data()), layout.bytes()},
               *this) {
  auto arena = transport::Arena::create("gradients", layout.bytes());
  COHAUL_CHECK(arena.ok(), "an arena for the gradients");
  arena_ = std::move(*arena);
  gradients_ = {reinterpret_cast<double*>(arena_.bytes().data()), parameters_.size()};
}

void Worker::connected(std::unique_ptr<transport::Channel> channel) {
  COHAUL_CHECK(channel->lend(arena_).ok(), "an arena is lent");
  channel->set_place([this](std::uint16_t kind, std::int64_t, std::uint64_t key, std::uint64_t length) {
    return session_.place(kind, key, length);
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
  if (phase_ == Phase::joining) {
    phase_ = Phase::starting;
    session_.start();
  }
  Status status = receive();
  if (status.ok() && phase_ == Phase::computing && now >= computed_at_) {
    push_run();
    if (runs_pushed_ < layout_.runs().size()) {
      compute_run(now);
    } else {
      phase_ = Phase::finishing;
      status = session_.finish(stub_loss(work_.step, work_.slices));
    }
  }
  if (status.ok() && !session_.busy()) advance(now);
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

/// The session has all that it asked for.
void Worker::advance(Time now) {
  bool sync = scenario_.is_sync();
  if (phase_ == Phase::computing || phase_ == Phase::leaving) return;
  if (phase_ == Phase::finishing) {
    std::fill(gradients_.begin(), gradients_.end(), std::numeric_limits<double>::quiet_NaN());
    said_.clear();
  }
  if (!sync && phase_ != Phase::asking) {
    phase_ = Phase::asking;
    return session_.ask({.end = scenario_.steps});
  }
  bool is_last = sync ? next_step_ == scenario_.steps : !session_.granted().has_value();
  witness_.on_look({rank_, parameters_, session_.outcome().loss, is_last});
  if (!is_last) return compute(sync ? Step(next_step_++) : *session_.granted(), now);
  phase_ = Phase::leaving;
  session_.goodbye();
}

void Worker::compute(Step step, Time now) {
  std::int32_t n = scenario_.slices, share = n / scenario_.workers;
  work_ = {step, {0, n, n}};
  if (scenario_.is_sync()) work_.slices = {rank_ * share, (rank_ + 1) * share, n};
  phase_ = Phase::computing;
  runs_pushed_ = 0;
  COHAUL_CHECK(session_.begin(work_, {1.0}).ok(), "a step begins");
  compute_run(now);
}

void Worker::compute_run(Time now) {
  computed_at_ = now + 1 + static_cast<Duration>(random_.below(scenario_.compute_max)) + std::exchange(slower_, 0);
}

/// The runs come one by one, as from backward, last run first.
void Worker::push_run() {
  std::size_t r = layout_.runs().size() - 1 - runs_pushed_++;
  const update::Run& run = layout_.runs()[r];
  std::span<double> gradient = gradients_.subspan(run.offset / sizeof(double), run.bytes / sizeof(double));
  fill_gradient(scenario_, run, work_.step, work_.slices, gradient);
  Status pushed = session_.push(static_cast<std::int32_t>(r), as_bytes(gradient), {});
  COHAUL_CHECK(pushed.ok(), "a run is pushed");
  if (said_.empty() || random_.uniform() >= scenario_.repeat_rate) return;
  Said& again = said_[random_.below(said_.size())];
  again.message.body = again.body;
  (void)links_[again.to.value].outgoing->send(again.message).ok();
}

/// Repeats some of it, as a sender that has had no answer would.
void Worker::send(ServerRank to, const transport::Message& message) {
  auto kind = static_cast<ps::Kind>(message.kind);
  bool may_repeat = kind == ps::Kind::push || kind == ps::Kind::ready || kind == ps::Kind::step_done;
  int copies = may_repeat && random_.uniform() < scenario_.repeat_rate ? 2 + static_cast<int>(random_.below(2)) : 1;
  // A channel that does not send does not receive, too: receive() finds out.
  for (int i = 0; i < copies; ++i) (void)links_[to.value].outgoing->send(message).ok();
  if (kind == ps::Kind::push) said_.push_back({to, message, {message.body.begin(), message.body.end()}});
}

}  // namespace cohaul::sim
