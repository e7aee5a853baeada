#include "cohaul/sim/worker.h"

#include <algorithm>
#include <limits>

#include "cohaul/base/check.h"
#include "cohaul/update/sum.h"

namespace cohaul::sim {

void fill_gradient(const Scenario& scenario, const update::Run& run, Step step, update::SliceRange slices,
                   std::span<double> out) {
  if (scenario.consistency.kind != ps::Consistency::Kind::sync) {
    std::fill(out.begin(), out.end(), static_cast<double>(step.value + 1));
    return;
  }
  std::vector<std::vector<double>> terms;
  std::vector<const double*> addresses;
  for (std::int32_t v = slices.first; v < slices.last; ++v) {
    Random random(mix_seed(scenario.seed, step.value, v), run.offset);
    auto& term = terms.emplace_back(out.size());
    for (double& x : term) x = random.uniform() - 0.5;
  }
  for (const auto& term : terms) addresses.push_back(term.data());
  update::tree_sum(std::span<const double* const>(addresses), out.data(), out.size());
}

double stub_loss(Step step, std::int32_t slice) { return Random(step.value, slice).uniform(); }

double stub_loss(Step step, update::SliceRange slices) {
  std::vector<double> losses;
  std::vector<const double*> addresses;
  for (std::int32_t v = slices.first; v < slices.last; ++v) losses.push_back(stub_loss(step, v));
  for (const double& loss : losses) addresses.push_back(&loss);
  double sum = 0;
  update::tree_sum(std::span<const double* const>(addresses), &sum, 1);
  return sum;
}

Worker::Worker(const Scenario& scenario, const update::Layout& layout, const ps::Init& init, std::int32_t rank,
               Network& network, Looked looked)
    : scenario_(scenario),
      layout_(layout),
      rank_(rank),
      network_(network),
      looked_(std::move(looked)),
      random_(scenario.seed, 100 + rank),
      // Worker 0's are what all start from; the others' must be overwritten.
      parameters_(layout.bytes() / sizeof(double), rank == 0 ? 1.0 : -1e9),
      gradients_(layout.bytes() / sizeof(double)),
      versions_(layout.partitions().size(), -1),
      session_(layout, init, WorkerRank(rank), {reinterpret_cast<std::byte*>(parameters_.data()), layout.bytes()},
               *this) {}

void Worker::start() { session_.start(); }

void Worker::send(ServerRank to, const transport::Message& message) {
  auto kind = static_cast<ps::Kind>(message.kind);
  bool may_repeat = kind == ps::Kind::push || kind == ps::Kind::ready || kind == ps::Kind::step_done;
  int copies = may_repeat && random_.uniform() < scenario_.repeat_rate ? 2 + static_cast<int>(random_.below(2)) : 1;
  network_.send({transport::Role::worker, rank_}, {transport::Role::server, to.value}, message, copies);
}

Status Worker::on_frame(ServerRank from, transport::Frame frame) {
  if (static_cast<ps::Kind>(frame.kind) == ps::Kind::params && frame.key < versions_.size()) {
    versions_[frame.key] = frame.clock;
  }
  COHAUL_TRY(session_.on_frame(from, std::move(frame)));
  return session_.busy() ? Status() : advance();
}

Status Worker::advance() {
  switch (phase_) {
    case Phase::starting:
    case Phase::asking:
    case Phase::finishing: break;
    case Phase::computing:
    case Phase::done: return {};
  }
  if (phase_ == Phase::finishing) {
    std::fill(gradients_.begin(), gradients_.end(), std::numeric_limits<double>::quiet_NaN());
  }
  if (phase_ == Phase::asking || is_sync()) looked_(*this);
  if (is_sync()) {
    if (next_step_ == scenario_.steps) {
      phase_ = Phase::done;
    } else {
      compute(Step(next_step_++));
    }
  } else if (phase_ == Phase::asking) {
    if (session_.granted()) {
      compute(*session_.granted());
    } else {
      phase_ = Phase::done;
    }
  } else {
    phase_ = Phase::asking;
    session_.ask(scenario_.steps);
  }
  if (phase_ == Phase::done) session_.goodbye();
  return {};
}

void Worker::compute(Step step) {
  std::int32_t n = scenario_.slices;
  work_ = {step, {0, n, n}};
  if (is_sync()) work_.slices = {rank_ * (n / scenario_.workers), (rank_ + 1) * (n / scenario_.workers), n};
  phase_ = Phase::computing;
  runs_pushed_ = 0;
  COHAUL_CHECK(session_.begin(work_, {1.0}).ok(), "a step begins");
  push_next();
}

/// The runs come one by one, as from backward, last run first.
void Worker::push_next() {
  network_.after(1 + static_cast<Duration>(random_.below(scenario_.compute_max)), [this] {
    if (dead_) return;
    std::size_t r = layout_.runs().size() - 1 - runs_pushed_;
    const update::Run& run = layout_.runs()[r];
    std::span<double> gradient = std::span(gradients_).subspan(run.offset / sizeof(double), run.bytes / sizeof(double));
    fill_gradient(scenario_, run, work_.step, work_.slices, gradient);
    Status pushed = session_.push(static_cast<std::int32_t>(r), as_bytes(gradient), {});
    COHAUL_CHECK(pushed.ok(), "a run is pushed");
    if (++runs_pushed_ < layout_.runs().size()) return push_next();
    phase_ = Phase::finishing;
    COHAUL_CHECK(session_.finish(stub_loss(work_.step, work_.slices)).ok(), "a step ends");
    if (!session_.busy()) COHAUL_CHECK(advance().ok(), "a worker goes on");
  });
}

}  // namespace cohaul::sim
