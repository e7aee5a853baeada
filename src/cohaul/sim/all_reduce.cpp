#include "cohaul/sim/all_reduce.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>

#include "cohaul/base/check.h"
#include "cohaul/base/random.h"
#include "cohaul/sim/rank.h"
#include "cohaul/sim/stub.h"
#include "cohaul/transport/sim_network.h"
#include "cohaul/update/local_exchange.h"

namespace cohaul::sim {
namespace {

constexpr int kIdleMax = 100;
constexpr Time kEnd = 30 * kSecond;  // far more than any schedule needs

class RankSimulation final : public RankWorld {
 public:
  explicit RankSimulation(const RankScenario& s)
      : RankWorld(s, layout_of()),
        random_(s.seed, 3),
        network_({.seed = s.seed, .delay_min = 1, .delay_max = s.delay_max}),
        pending_(s.faults) {
    make_reference();
    for (int r = 0; r < s.ranks; ++r) ranks_.push_back(std::make_unique<RankProcess>(*this, r));
    for (int a = 0; a < s.ranks; ++a) {
      for (int b = a + 1; b < s.ranks; ++b) {
        const bool one_host = s.hosts[static_cast<std::size_t>(a)] == s.hosts[static_cast<std::size_t>(b)];
        auto [at_a, at_b] = network_.connect(identity(a), identity(b), one_host);
        ranks_[a]->connected(b, std::move(at_a));
        ranks_[b]->connected(a, std::move(at_b));
      }
    }
  }

  Result<RankReport> run() {
    int idle = 0;  // rounds in a row in which time did not advance
    while (verdict_.ok() && !is_over() && now() < kEnd) {
      const Time before = now();
      const int met_before = arrived + gone;
      strike();
      for (std::size_t r = 0; r < ranks_.size(); ++r) turn(static_cast<int>(r));
      if (arrived + gone > met_before) continue;  // ranks that wait at a meeting may continue
      const Time next = next_time();
      if (!network_.step(next)) {
        if (next == kForever && !is_over() && ++idle > 2) break;  // nothing will ever happen; at_end() reports it
        network_.advance_to(std::min(next, kEnd));
      }
      idle = now() > before ? 0 : idle + 1;
      if (idle > kIdleMax) broken("somebody spins instead of waiting");
    }
    at_end();
    report_.trace = network_.trace();
    if (!verdict_.ok()) return verdict_.context("trace " + std::to_string(report_.trace));
    return report_;
  }

 private:
  static const update::Layout& layout_of() {
    static const update::Layout layout = small_layout();
    return layout;
  }
  static transport::Identity identity(int rank) {
    transport::Identity who;
    who.rank = rank;
    who.incarnation = Incarnation(1);
    return who;
  }
  Time now() const { return network_.clock().now(); }

  void broken(const std::string& promise) override {
    if (verdict_.ok()) verdict_ = corrupt(promise).context(scenario.describe());
  }

  /// Computes the results of one process that has all slices.
  void make_reference() {
    transport::Arena memory = std::move(*transport::Arena::create("reference", layout.bytes()));
    const Bytes bytes = memory.bytes().first(layout.bytes());
    const std::span<double> values{reinterpret_cast<double*>(bytes.data()), bytes.size() / sizeof(double)};
    std::ranges::fill(values, 1.0);
    auto local = update::make_local_exchange(layout, scenario.rule(), scenario.policy, bytes);
    const update::SliceRange all{0, scenario.slices, scenario.slices};
    std::vector<double> gradient(values.size());
    reference_.emplace_back(values.begin(), values.end());
    for (std::int64_t s = 0; s < scenario.steps; ++s) {
      COHAUL_CHECK(local->begin({Step(s), all}, {}).ok(), "the reference begins a step");
      for (std::size_t r = 0; r < layout.buckets().size(); ++r) {
        const update::Bucket& bucket = layout.buckets()[r];
        const auto part = std::span(gradient).subspan(bucket.offset / sizeof(double), bucket.bytes / sizeof(double));
        fill_gradient(scenario.problem(), bucket, Step(s), all, part);
        if (s == scenario.not_finite_step) part[0] = std::numeric_limits<double>::infinity();
        const Status pushed = local->push({.bucket = static_cast<std::int32_t>(r), .bytes = as_bytes(part)});
        COHAUL_CHECK(pushed.ok(), "the reference pushes");
      }
      auto outcome = local->finish(stub_ends(Step(s), all));
      if (!outcome.ok()) {  // it stops, so all ranks must stop
        stops_ = outcome.status();
        return;
      }
      outcomes_.push_back(*outcome);
      if (scenario.write_after == s + 1) {
        before_write_.assign(values.begin(), values.end());
        for (double& x : values) x *= 0.5;
      }
      reference_.emplace_back(values.begin(), values.end());
    }
  }

  void on_look(int rank, std::int64_t steps, std::span<const double> values,
               const update::StepOutcome* outcome) override {
    const std::string who = "worker " + std::to_string(rank) + " after step " + std::to_string(steps);
    if (steps >= static_cast<std::int64_t>(reference_.size())) return broken(who + " goes on after a stop");
    const bool writes = outcome != nullptr && steps == scenario.write_after;
    const std::vector<double>& expected = writes ? before_write_ : reference_[steps];
    if (std::memcmp(values.data(), expected.data(), values.size_bytes()) != 0)
      return broken(who + " has other bits than one process");
    if (outcome == nullptr) return;
    const update::StepOutcome& one = outcomes_[steps - 1];
    if (outcome->loss != one.loss) broken(who + " has a loss that is not one process's");
    if (outcome->gradient_norm != one.gradient_norm) broken(who + " has a norm that is not one process's");
    if (outcome->skipped != one.skipped) broken(who + " skipped, or did not, otherwise than one process");
  }

  Time next_time() const {
    Time next = kForever;
    for (const auto& rank : ranks_) next = std::min(next, rank->next_time());
    for (const RankFault& f : pending_)
      if (f.at > now()) next = std::min(next, f.at);
    return next;
  }

  bool is_over() const {
    return std::ranges::none_of(ranks_, [](const auto& r) { return r->state() == RankProcess::State::running; });
  }

  void turn(int r) {
    RankProcess& rank = *ranks_[r];
    if (rank.state() != RankProcess::State::running) return;
    rank.turn(now());
    if (rank.state() == RankProcess::State::killed) lost_.push_back(r);
    if (rank.state() != RankProcess::State::failed) return;
    on_failed("worker " + std::to_string(r), rank.failure());
  }

  /// The first rank to fail must name the lost rank. If no rank died, all must fail with the same message.
  void on_failed(const std::string& who, const Status& why) {
    const bool first = !std::exchange(someone_failed_, true);
    if (scenario.culprit >= 0 && scenario.leaves_after >= 0 && lost_.empty()) {
      const std::string left = "worker " + std::to_string(scenario.culprit) + " left after " +
                               std::to_string(scenario.leaves_after) + " steps";
      if (first && !why.message().starts_with(left)) broken(who + " names nobody who left: " + why.message());
      return;
    }
    // An error that all ranks find is also found by those that are left.
    const bool alike = scenario.differs_in >= 0 ? why.message().starts_with("train.batch is ")
                                                : !stops_.ok() && why.message().starts_with("step ");
    if (alike && first_failure_.empty()) first_failure_ = why.message();
    if (alike && why.message() != first_failure_) broken(who + " fails otherwise than the others: " + why.message());
    if (alike) return;
    if (lost_.empty()) return broken(who + " fails, though nothing is wrong: " + why.message());
    const bool named = std::ranges::any_of(
        lost_, [&](int r) { return why.message().starts_with("worker " + std::to_string(r) + ": "); });
    if (first && !named) broken(who + " is the first to fail and names nobody who was lost: " + why.message());
  }

  void strike() {
    for (std::size_t i = 0; i < pending_.size();) {
      const RankFault fault = pending_[i];
      if (now() < fault.at) {
        ++i;
        continue;
      }
      pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
      if (ranks_[fault.rank]->state() == RankProcess::State::running) strike(fault);
    }
  }

  void strike(const RankFault& fault) {
    RankProcess& rank = *ranks_[fault.rank];
    const auto roads = rank.roads();
    const auto road = std::ranges::find_if(roads, [&](auto* r) { return r->peer().rank == fault.peer; });
    const bool one_road = fault.kind == RankFault::Kind::hold || fault.kind == RankFault::Kind::cut;
    if (one_road && road == roads.end()) return;
    ++report_.faults;
    switch (fault.kind) {
      case RankFault::Kind::kill:
        for (transport::Channel* r : roads)
          if (random_.below(2) == 0) network_.cut(*r);
        rank.kill();
        return lost_.push_back(fault.rank);
      case RankFault::Kind::stop: return rank.stop(now() + fault.lasts);
      case RankFault::Kind::slow: return rank.slow_down(fault.lasts);
      case RankFault::Kind::hold: return network_.hold(**road, now() + fault.lasts);
      case RankFault::Kind::cut:
        network_.cut(**road);
        lost_.push_back(fault.rank);
        return lost_.push_back(fault.peer);
    }
  }

  void at_end() {
    for (const auto& rank : ranks_) {
      using State = RankProcess::State;
      if (rank->state() == State::running) broken(rank->describe() + ": hangs");
      report_.failed += rank->state() == State::failed;
      report_.killed += rank->state() == State::killed;
    }
    const bool alike = lost_.empty() && (scenario.differs_in >= 0 || !stops_.ok());
    if (alike && scenario.ranks > 1 && scenario.leaves_after < 0 && report_.failed != scenario.ranks)
      broken("not all ranks fail");
  }

  Random random_;
  transport::SimNetwork network_;
  std::vector<std::unique_ptr<RankProcess>> ranks_;
  std::vector<RankFault> pending_;
  std::vector<std::vector<double>> reference_;  // parameters after each step
  std::vector<double> before_write_;
  std::vector<update::StepOutcome> outcomes_;
  Status stops_;
  std::vector<int> lost_;  // ranks that died or were cut off
  bool someone_failed_ = false;
  std::string first_failure_;
  RankReport report_;
  Status verdict_;
};

}  // namespace

Scenario RankScenario::problem() const {
  Scenario s;
  s.problem = seed;
  s.slices = slices;
  return s;
}

RankScenario RankScenario::draw(std::uint64_t seed) {
  Random random(seed, 4);
  RankScenario s;
  s.seed = seed;
  s.ranks = static_cast<int>(1 + random.below(6));
  s.slices = s.ranks + static_cast<std::int32_t>(random.below(8));
  s.steps = static_cast<std::int64_t>(1 + random.below(8));
  s.shared = random.below(2) == 0;
  const std::uint64_t hosts = 1 + random.below(3);  // all ranks on one host, on up to two, or at random
  for (int r = 0; r < s.ranks; ++r) s.hosts.push_back(static_cast<int>(random.below(hosts < 3 ? hosts : s.ranks)));
  s.delay_max = kMicrosecond << random.below(12);
  s.compute_max = kMicrosecond << random.below(12);
  const std::uint64_t policy = random.below(4);
  if (policy == 1) s.policy.clip_norm = 0.5;
  if (policy >= 2) s.policy.non_finite = policy == 2 ? update::NonFinite::skip : update::NonFinite::stop;
  if (policy >= 2 && random.below(2) == 0) s.not_finite_step = static_cast<std::int64_t>(random.below(s.steps));
  s.policy.watch_every = static_cast<std::int64_t>(seed % 4);
  if (random.below(3) == 0) s.write_after = static_cast<std::int64_t>(1 + random.below(s.steps));
  const Duration typical = (s.delay_max * 6 + s.compute_max * 6) * (s.steps + 1);
  for (std::uint64_t mild = random.below(4); mild > 0; --mild) {
    RankFault f{.kind = static_cast<RankFault::Kind>(1 + random.below(3))};
    f.rank = static_cast<int>(random.below(s.ranks));
    f.peer = static_cast<int>(random.below(s.ranks));
    f.at = static_cast<Time>(random.below(typical));
    f.lasts = static_cast<Duration>(random.below(typical));
    s.faults.push_back(f);
  }
  const std::uint64_t fate = s.ranks > 1 ? random.below(6) : 5;
  if (fate >= 4) return s;
  s.culprit = static_cast<int>(random.below(s.ranks));
  if (fate == 0) s.leaves_after = static_cast<std::int64_t>(random.below(s.steps));
  if (fate == 0 || fate == 1) s.write_after = s.not_finite_step = -1;
  if (fate == 1) s.differs_in = static_cast<std::int64_t>(random.below(s.steps));
  if (fate == 2) s.dies_after_sends = static_cast<std::int64_t>(random.below(100));
  if (fate == 3) {
    const bool cut = random.below(2) == 0;
    s.faults.push_back({cut ? RankFault::Kind::cut : RankFault::Kind::kill, s.culprit, (s.culprit + 1) % s.ranks,
                        static_cast<Time>(random.below(typical)), 0});
  }
  return s;
}

std::string RankScenario::describe() const {
  std::string text = "seed " + std::to_string(seed) + ": " + std::to_string(ranks) + " ranks, " +
                     std::to_string(slices) + " slices, " + std::to_string(steps) + " steps, " +
                     (shared ? "shared" : "own") + " parameters, hosts";
  for (const int host : hosts) text += " " + std::to_string(host);
  constexpr std::string_view kNames[] = {"killed", "stopped", "slow", "held back", "cut off"};
  for (const RankFault& f : faults)
    text += "; worker " + std::to_string(f.rank) + " " + std::string(kNames[static_cast<int>(f.kind)]) + " (peer " +
            std::to_string(f.peer) + ") at " + std::to_string(f.at / kMicrosecond) + " us";
  if (culprit >= 0)
    text += "; worker " + std::to_string(culprit) + " dies after " + std::to_string(dies_after_sends) +
            " messages, leaves after " + std::to_string(leaves_after) + ", differs in " + std::to_string(differs_in);
  return text;
}

Result<RankReport> simulate(const RankScenario& scenario) { return RankSimulation(scenario).run(); }

}  // namespace cohaul::sim
