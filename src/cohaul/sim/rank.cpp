#include "cohaul/sim/rank.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "cohaul/base/check.h"
#include "cohaul/sim/stub.h"

namespace cohaul::sim {
namespace {

collective::RankSettings settings_of(const RankScenario& s) {
  return {
      .optimizer = s.rule(), .policy = s.policy, .shared_parameters = s.shared, .slices = s.slices, .hosts = s.hosts};
}

}  // namespace

RankProcess::RankProcess(RankWorld& world, int rank)
    : world_(world),
      rank_(rank),
      random_(world.scenario.seed, 200 + rank),
      slices_(update::deal_slices(world.scenario.slices, world.scenario.hosts)[static_cast<std::size_t>(rank)]),
      own_(world.layout.bytes() / sizeof(double), rank == 0 ? 1.0 : -1e9),
      parameters_(world.scenario.shared ? world.parameters.at(world.scenario.hosts[static_cast<std::size_t>(rank)])
                                        : own_),
      session_(world.layout, settings_of(world.scenario), rank, world.scenario.ranks,
               {reinterpret_cast<std::byte*>(parameters_.data()), parameters_.size_bytes()}, *this),
      links_(world.scenario.ranks),
      parts_(update::subtrees_of(slices_)) {
  auto arena = transport::Arena::create("gradients", parts_.size() * world.layout.bytes());
  COHAUL_CHECK(arena.ok(), "an arena for the gradients");
  arena_ = std::move(*arena);
  gradients_ = {reinterpret_cast<double*>(arena_.bytes().data()), parts_.size() * own_.size()};
}

void RankProcess::connected(int rank, std::unique_ptr<transport::Channel> channel) {
  COHAUL_CHECK(channel->lend(arena_).ok(), "an arena is lent");
  channel->set_place([this, rank](std::uint16_t kind, std::int64_t clock, std::uint64_t key, std::uint64_t length) {
    return session_.place(rank, kind, clock, key, length);
  });
  links_[rank].channel = std::move(channel);
}

std::vector<transport::Channel*> RankProcess::roads() {
  std::vector<transport::Channel*> out;
  for (Link& link : links_)
    if (link.channel) out.push_back(link.channel.get());
  return out;
}

void RankProcess::end(State how) {
  state_ = how;
  if (how != State::done && !written_) ++world_.gone;
  for (Link& link : links_) link.channel.reset();
}

std::string RankProcess::describe() const {
  std::string text = "worker " + std::to_string(rank_) + " in step " + std::to_string(step_ + 1) + ", waiting for";
  for (int r = 0; r < world_.scenario.ranks; ++r)
    if (session_.missing(r)) text += " worker " + std::to_string(r);
  return text;
}

/// Sends a message, or dies if the scenario says so: after any number of messages.
void RankProcess::send(int to, const transport::Message& message) {
  const RankScenario& s = world_.scenario;
  if (s.culprit == rank_ && s.dies_after_sends >= 0 && sends_++ >= s.dies_after_sends) state_ = State::killed;
  if (state_ != State::running || !links_[to].channel) return;
  (void)links_[to].channel->send(message).ok();  // receive() notices a rank that is gone
}

Time RankProcess::next_time() const {
  if (state_ != State::running) return kForever;
  if (phase_ == Phase::computing) return std::max(stopped_until_, computed_at_);
  return is_stopped_ ? stopped_until_ : kForever;
}

void RankProcess::turn(Time now) {
  if (state_ != State::running || now < stopped_until_) return;
  is_stopped_ = false;
  Status status;
  if (phase_ == Phase::joining) {
    phase_ = Phase::starting;
    status = session_.start();
  }
  if (status.ok()) status = receive();
  while (status.ok() && state_ == State::running && (!session_.busy() || phase_ == Phase::computing)) {
    const Phase before = phase_;
    status = advance(now);
    if (phase_ == before || phase_ == Phase::computing) break;
  }
  if (state_ == State::killed) return end(State::killed);
  if (status.ok()) status = may_wait();
  if (status.ok()) return;
  failure_ = status;
  end(State::failed);
}

Status RankProcess::receive() {
  for (int r = 0; r < world_.scenario.ranks; ++r) {
    Link& link = links_[r];
    while (link.channel && link.lost.ok()) {
      auto frame = link.channel->receive();
      if (!frame.ok()) link.lost = frame.status();
      if (!frame.ok() || !frame->has_value()) break;
      COHAUL_TRY(session_.on_frame(r, std::move(**frame)));
    }
  }
  return {};
}

Status RankProcess::may_wait() const {
  for (int r = 0; r < world_.scenario.ranks; ++r)
    if (!links_[r].lost.ok() && session_.missing(r)) return links_[r].lost;
  return {};
}

/// Begins the next phase; the session has all that it needs.
Status RankProcess::advance(Time now) {
  const RankScenario& s = world_.scenario;
  switch (phase_) {
    case Phase::starting: look(nullptr); return begin(now);
    case Phase::computing: return now >= computed_at_ ? compute_one(now) : Status();
    case Phase::finishing:
      ++step_;
      std::ranges::fill(gradients_, std::numeric_limits<double>::quiet_NaN());
      look(&session_.outcome());
      if (s.write_after == step_ && !std::exchange(written_, true)) {
        phase_ = Phase::meeting;
        ++world_.arrived;
        return {};
      }
      return begin(now);
    case Phase::meeting: return world_.arrived + world_.gone >= s.ranks ? write() : Status();
    case Phase::writing: look(nullptr); return begin(now);
    case Phase::joining: return {};
  }
  return {};
}

Status RankProcess::write() {
  phase_ = Phase::writing;
  if (rank_ == 0)
    for (double& x : parameters_) x *= 0.5;
  return session_.write();
}

void RankProcess::look(const update::StepOutcome* outcome) { world_.on_look(rank_, step_, parameters_, outcome); }

Status RankProcess::begin(Time now) {
  const RankScenario& s = world_.scenario;
  if (step_ == s.steps || (s.culprit == rank_ && step_ == s.leaves_after)) {
    session_.leave();
    end(State::done);
    return {};
  }
  phase_ = Phase::computing;
  const bool differs = s.culprit == rank_ && step_ == s.differs_in;
  const std::string facts = differs                               ? "loop=0\ntrain.batch=2\n"
                            : step_ == 0 || step_ == s.differs_in ? "loop=0\ntrain.batch=1\n"
                                                                  : "";
  COHAUL_TRY(session_.begin({Step(step_), slices_}, facts));
  seen_.assign(parameters_.begin(), parameters_.end());
  pushed_ = 0;
  ended_ = false;
  computed_at_ = now + 1 + static_cast<Duration>(random_.below(s.compute_max)) + std::exchange(slower_, 0);
  return {};
}

/// Pushes one gradient, as in backward: the last bucket first; after all of them the step's end.
Status RankProcess::compute_one(Time now) {
  const RankScenario& s = world_.scenario;
  const std::size_t buckets = world_.layout.buckets().size();
  std::vector<update::PartEnd> ends;
  for (const update::SliceRange& part : parts_) ends.push_back(stub_ends(Step(step_), part).front());
  if (!ended_ && !std::ranges::equal(seen_, parameters_))
    world_.broken(describe() + ": parameters change within backward");
  computed_at_ = now + 1 + static_cast<Duration>(random_.below(s.compute_max)) + std::exchange(slower_, 0);
  if (pushed_ < parts_.size() * buckets) {
    const std::size_t part = pushed_ / buckets, r = buckets - 1 - pushed_ % buckets;
    ++pushed_;
    const update::Bucket& bucket = world_.layout.buckets()[r];
    const auto gradient =
        gradients_.subspan(part * own_.size() + bucket.offset / sizeof(double), bucket.bytes / sizeof(double));
    fill_gradient(s.problem(), bucket, Step(step_), parts_[part], gradient);
    if (step_ == s.not_finite_step && parts_[part].first == 0) gradient[0] = std::numeric_limits<double>::infinity();
    ended_ = pushed_ == parts_.size() * buckets && random_.below(2) == 0;
    return session_.push(
        {.part = static_cast<std::int32_t>(part),
         .bucket = static_cast<std::int32_t>(r),
         .bytes = as_bytes(gradient),
         .ends = ended_ ? std::span<const update::PartEnd>(ends) : std::span<const update::PartEnd>()});
  }
  phase_ = Phase::finishing;
  return session_.finish(ends);
}

}  // namespace cohaul::sim
