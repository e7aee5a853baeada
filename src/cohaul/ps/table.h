#pragma once
// Table: one partition at its server. It takes pushes and makes versions of the parameters; consistency.h decides when.
//
// A push is identified by its sender's clock and its slices, and its step by the step's number. If either has been seen before, the push is
// acknowledged and not applied. So a step counts once on every partition, even if its worker died after some of its pushes arrived and another worker
// does the step again.

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

/// One thread uses it. It does not allocate memory any more after every worker has pushed and pulled. All arguments by reference must outlive it. It
/// keeps the frames with gradients of an unfinished step, and releases them when the update is made.
class Table {
 public:
  Table(const update::Layout& layout, PartitionId id, const Init& init, update::Owner& owner, Memory& memory,
        ToWorkers& out);

  /// Sets the initial parameters. A second call is ignored.
  Status initial(ConstBytes parameters);
  /// Takes a gradient. Errors: invalid, corrupt (what the worker did wrong).
  Status push(WorkerRank from, std::int64_t clock, const Push& push, transport::Frame frame);
  /// Synchronous mode with a policy that needs facts: returns whether all gradients of the step are here and measured. They wait for apply().
  bool is_measured() const { return measured_; }
  const update::GradientFacts& facts() const { return facts_; }
  /// Returns the squares of a watched step's gradients, by segment of the partition (update::measure()).
  std::span<const double> squares() const { return squares_; }
  double samples() const { return samples_; }
  /// Makes the update of the step that has been measured. All tables must get the same plan.
  void apply(const update::StepPlan& plan);
  /// Answers a pull as soon as the partition has at least this version. The answer has no values if the worker's content is the current one.
  Status pull(WorkerRank from, Version at_least, std::int64_t content);
  /// Sets other values, outside of a step; version and optimizer state stay. If the number is repeated, it is only acknowledged.
  Status assign(WorkerRank from, std::int64_t number, ConstBytes parameters);
  /// Returns whether contributions to a step are being gathered, or there are no parameters yet.
  bool is_amid_step() const { return held_count_ > 0 || version_.value < 0; }
  ConstBytes values() const { return versions_.current(); }
  /// Sets other values of the same size, outside of a step; version and optimizer state stay.
  void replace(ConstBytes values) { publish(versions_.next(), values); }
  /// Swaps the values with the owner's averages, outside of a step; version and optimizer state stay.
  void swap_averages();
  /// Forgets the clock and the pull of a worker that is gone or has been restarted.
  void forget(WorkerRank worker);

  /// Returns the version; -1: there are no initial parameters yet.
  Version version() const { return version_; }
  const Stats& stats() const { return stats_; }
  std::size_t memory_bytes() const { return versions_.memory_bytes(); }

 private:
  struct Worker {
    std::int64_t clock = -1;     // clock of its last push that was applied
    Ack ack;                     // the answer to that push
    Version pulled{0};           // the version it has
    std::int64_t own_since = 0;  // number of its own pushes applied since that pull
    std::int64_t wanted = -1;    // the version it waits for
    std::int64_t content = -1;   // the content that it has while it waits
  };
  struct Held {  // a contribution to the step that is being gathered
    WorkerRank from;
    std::int64_t clock = 0;
    update::SliceRange slices;
    transport::Frame frame;
    std::vector<std::byte> absent;
    double samples = 0;
    bool is_sum = false;
    update::GradientFacts named;  // is_sum: which parameter and worker has a gradient that is not finite
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
  std::int64_t content_ = -1;      // number of the content; grows with every change of values
  std::int64_t assignments_ = -1;  // number of the last assignment
  AppliedSteps applied_;
  std::vector<Worker> workers_;
  std::vector<Held> held_;  // the first held_count_, by first slice; the others keep their memory for later
  std::size_t held_count_ = 0;
  std::int32_t covered_ = 0;
  std::int64_t step_ = 0;  // the step whose contributions are held
  std::vector<update::Contribution> contributions_;
  double samples_ = 0;  // samples of the complete step
  update::GradientFacts facts_;
  std::vector<double> squares_;  // empty: the policy watches no step
  bool measured_ = false;
  std::vector<std::byte> body_;
  Stats stats_;
};

}  // namespace cohaul::ps
