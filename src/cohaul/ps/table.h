#pragma once
// Table: one dense partition at its server. Pushes go in, versions come out; consistency.h says when.
//
// A push is known by its sender's clock and its slices, and its step by its number: a repeat of either is acknowledged and not applied, so
// a step counts once on every partition even when a dead worker's number goes out again after half of its pushes arrived.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cohaul/base/ids.h"
#include "cohaul/base/status.h"
#include "cohaul/ps/applied_steps.h"
#include "cohaul/ps/messages.h"
#include "cohaul/ps/outbox.h"
#include "cohaul/ps/versions.h"
#include "cohaul/transport/channel.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/owner.h"

namespace cohaul::ps {

/// One thread. Does not allocate once every worker has pushed and pulled. Everything referred to outlives it; frames it holds
/// (gradients of an unfinished step) are released when the step is made.
class Table {
 public:
  Table(const update::Layout& layout, PartitionId id, const Init& init, update::Owner& owner, Memory& memory,
        ToWorkers& out);

  /// The parameters to start from. A second one is ignored.
  Status initial(ConstBytes parameters);
  /// Errors: invalid, corrupt (what the worker did wrong).
  Status push(WorkerRank from, std::int64_t clock, const Push& push, transport::Frame frame);
  /// Synchronous, where the policy needs facts: all of the step's gradients are here and measured; they wait for apply().
  bool is_measured() const { return measured_; }
  const update::GradientFacts& facts() const { return facts_; }
  /// Of a watched step: by segment of the partition (update::measure()).
  std::span<const double> squares() const { return squares_; }
  double samples() const { return samples_; }
  /// Makes the step that is measured. The same plan at all tables.
  void apply(const update::StepPlan& plan);
  /// Answered when the partition has at least this version, now or later; without values where the worker's content is the current one.
  Status pull(WorkerRank from, Version at_least, std::int64_t content);
  /// Other values, outside of a step: version and optimizer state stay. A repeat of the number is acknowledged only.
  Status assign(WorkerRank from, std::int64_t number, ConstBytes parameters);
  /// A step's contributions are being gathered, or there are no parameters yet.
  bool is_amid_step() const { return held_count_ > 0 || version_.value < 0; }
  ConstBytes values() const { return versions_.current(); }
  /// Outside of a step: other values, of the same size; version and optimizer state stay.
  void replace(ConstBytes values) { publish(versions_.next(), values); }
  /// Outside of a step: the owner's averages become the values, and the values what it keeps; version and optimizer state stay.
  void swap_averages();
  /// The worker is gone, or a new life of it has begun: forgets its clock and what it waits for.
  void forget(WorkerRank worker);

  /// -1: no initial parameters yet.
  Version version() const { return version_; }
  const Stats& stats() const { return stats_; }
  std::size_t memory_bytes() const { return versions_.memory_bytes(); }

 private:
  struct Worker {
    std::int64_t clock = -1;     // of its last push that was applied
    Ack ack;                     // of that push
    Version pulled{0};           // the version it has
    std::int64_t own_since = 0;  // its own pushes applied since it pulled that
    std::int64_t wanted = -1;    // the version it waits for
    std::int64_t content = -1;   // that it has while it waits
  };
  struct Held {  // a contribution to the step that is being gathered
    WorkerRank from;
    std::int64_t clock = 0;
    update::SliceRange slices;
    transport::Frame frame;
    std::vector<std::byte> absent;
    double samples = 0;
    bool is_joined = false;
    update::GradientFacts named;  // is_joined: whose gradient is not finite
  };

  bool is_repeat(WorkerRank from, std::int64_t clock, const Push& push) const;
  bool is_sync() const { return consistency_.kind == Consistency::Kind::sync; }
  Status check(const Push& push, ConstBytes gradient) const;
  Status hold(WorkerRank from, std::int64_t clock, const Push& push, transport::Frame frame);
  void gather();
  void measure();
  void update(const update::StepPlan& plan);
  void publish(Bytes next, ConstBytes values);
  void acknowledge(WorkerRank to, std::int64_t clock, const Ack& ack);
  void send(WorkerRank to, Kind kind, std::int64_t clock, ConstBytes payload = {},
            std::shared_ptr<const void> keep = nullptr);
  void answer(WorkerRank to);
  std::string context(WorkerRank from) const;

  const update::Layout& layout_;
  const update::Partition& partition_;
  const PartitionId id_;
  const Consistency consistency_;
  const update::GradientPolicy policy_;
  const std::int32_t slices_;
  update::Owner& owner_;
  ToWorkers& out_;

  Versions versions_;
  Version version_{-1};
  std::int64_t content_ = -1;      // grows with every change of values
  std::int64_t assignments_ = -1;  // the last one's number
  AppliedSteps applied_;
  std::vector<Worker> workers_;
  std::vector<Held> held_;  // [0, held_count_) by first slice; the rest keep their memory for reuse
  std::size_t held_count_ = 0;
  std::int32_t covered_ = 0;
  std::int64_t step_ = 0;  // whose contributions are held
  std::vector<update::Contribution> contributions_;
  double samples_ = 0;  // of the step that is complete
  update::GradientFacts facts_;
  std::vector<double> squares_;  // empty: the policy watches none
  bool measured_ = false;
  std::vector<std::byte> body_;
  Stats stats_;
};

}  // namespace cohaul::ps
