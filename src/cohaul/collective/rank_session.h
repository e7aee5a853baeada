#pragma once
// RankSession: one rank's side of an all-reduce fused with the update. A state machine without I/O: the exchange
// (all_reduce_exchange.h) runs it on links, the simulator runs the same class. A call begins an operation, which is
// over when busy() is false. No parameter is written before every rank has sent its end of the step.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/collective/rank_messages.h"
#include "cohaul/collective/reduce_plan.h"
#include "cohaul/transport/channel.h"
#include "cohaul/update/exchange.h"
#include "cohaul/update/gradient_policy.h"
#include "cohaul/update/gradient_squares.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/optimizer_settings.h"
#include "cohaul/update/owner.h"
#include "cohaul/update/step_plan.h"

namespace cohaul::collective {

/// Takes the messages of a session. send() only queues, and no answer comes during it. The body is copied; the
/// payload is not where it can travel as an address. The session never learns of a failed delivery; its caller does,
/// later.
class ToRanks {
 public:
  virtual ~ToRanks() = default;
  virtual void send(int to, const transport::Message& message) = 0;
};

/// The settings of a session, the same at all ranks.
struct RankSettings {
  update::OptimizerSettings optimizer{};
  update::GradientPolicy policy{};
  bool shared_parameters = false;  // one copy for all ranks of a host, in memory that all of them map writable
  std::int32_t slices = 1;         // of a step's batch, over all ranks; >= ranks
  std::vector<int> hosts{};        // by rank, equal on one host; empty: all are on one
};

/// One thread. `layout`, `parameters` (Layout::bytes() long) and `out` must outlive it. Allocates in its first steps
/// only. Errors of all calls are sticky: invalid (ranks do not agree, or a gradient is not finite and the policy is
/// stop), corrupt (a frame that does not fit).
class RankSession {
 public:
  RankSession(const update::Layout& layout, const RankSettings& settings, int rank, int ranks, Bytes parameters,
              ToRanks& out);

  /// Gives rank 0's parameters to all ranks.
  Status start() { return spread(kStart); }
  Status write() { return spread(kWrite); }
  /// Exchange::swap_averages.
  Status swap_averages();
  /// Exchange::set_rates.
  Status set_rates(std::span<const double> rates);
  /// The calls of a step: begin, push each (part, bucket) once, finish. Gradients must stay unchanged until the session
  /// is no longer busy with it.
  Status begin(const update::Work& work, std::string_view facts);
  Status push(const update::Gradient& gradient);
  Status finish(std::span<const update::PartEnd> ends);
  const update::StepOutcome& outcome() const { return outcome_; }
  /// See Exchange::abandon.
  Status abandon();
  /// Tells the others that this rank does no more steps. Nothing may be called after it. No effect within an operation or after an error.
  void leave();

  /// Takes one frame of an is_rank_kind().
  Status on_frame(int from, transport::Frame frame);
  /// Returns where the bytes of a frame's payload may be put as they come in; else empty.
  Bytes place(int from, std::uint16_t kind, std::int64_t clock, std::uint64_t key, std::uint64_t length);
  bool busy() const { return phase_ > Phase::backward && phase_ < Phase::failed; }
  /// Returns whether the operation waits for this rank.
  bool missing(int rank) const;
  const Status& failure() const { return failure_; }
  /// Returns the bytes of the optimizer's state, and of sums for other hosts.
  std::size_t state_bytes() const { return owner_.state_bytes() + sums_.size(); }
  /// Exchange::owned, set_first.
  std::vector<update::StatePiece> owned() { return owner_.pieces(parameters_); }
  void set_first(std::int64_t updates) { owner_.set_first(updates); }

 private:
  enum class Phase : std::uint8_t { idle, backward, ends, facts, updates, spreading, swapping, failed, closed };
  static constexpr std::uint64_t kStart = 0, kWrite = 1;
  static constexpr std::int64_t kNever = INT64_MAX;

  /// A portion of one gradient that this rank sums.
  struct Slot {
    transport::Frame frame;  // holds what the spans are in; none of this rank's own
    ConstBytes bytes;
    update::AbsentMask absent;
    bool here = false;
  };
  /// What has come of one step. A fast rank may be one step ahead, never two.
  struct StepState {
    std::int64_t step = -1;
    std::vector<Slot> slots;              // as ReducePlan::target()
    std::vector<std::int32_t> gradients;  // by rank: how many of its parts have come
    std::vector<std::int32_t> sums;       // by rank: how many sums of its host have come
    std::vector<std::uint8_t> ended;      // by rank
    std::vector<update::PartEnd> ends;    // by part of all ranks
    std::vector<std::string> facts;       // by rank: that all must agree on
    int ranks_ended = 0, ranks_with_facts = 0;
    std::int32_t sums_come = 0;
  };
  /// Names a portion: its bucket and its owner.
  struct PortionId {
    std::size_t bucket = 0;
    int owner = 0;
  };
  /// This rank's gradient of a bucket, from push() to the end of the step.
  struct Pushed {
    bool here = false;
    ConstBytes bytes;
    std::vector<std::byte> absent;
  };

  // rank_session.cpp
  Status spread(std::uint64_t operation);
  Status end_step(std::span<const update::PartEnd> ends);
  Status proceed();
  Status agree();
  void measure_mine();
  void send_facts(const update::GradientFacts& mine);
  Status decide_step();
  void apply_mine();
  void complete();
  void set_contributions(std::size_t owned, std::int32_t partition);
  template <class F>
  void each_owned(F f);  // f(bucket, its index in plan_.owned), the bucket that was pushed last first
  void send_ends(std::span<const update::PartEnd> ends);
  void send_initial(std::uint64_t operation);
  void tell_portion(RankKind kind, std::int64_t clock, const PortionId& of, ConstBytes values);
  void tell_host();
  void expect_values(bool words);
  void send(int to, RankKind kind, std::int64_t clock, std::uint64_t key, ConstBytes payload = {},
            std::shared_ptr<const void> keep = nullptr);
  void send_to_others(RankKind kind, std::int64_t clock, std::uint64_t key, ConstBytes payload = {});
  void tell(int to, const Status& why);
  StepState& at(std::int64_t step);
  StepState& now() { return at(step_); }
  void clear(StepState& state, std::int64_t step);
  Pushed& pushed(std::int32_t part, std::int32_t bucket) {
    return pushed_[static_cast<std::size_t>(part) * layout_.buckets().size() + static_cast<std::size_t>(bucket)];
  }
  bool is_idle() const { return phase_ == Phase::idle && !ended_early_; }
  /// Returns whether that rank reads and writes the same copy of the parameters.
  bool shares_with(int rank) const { return settings_.shared_parameters && plan_.is_near(rank); }
  bool in_step() const { return phase_ >= Phase::backward && phase_ <= Phase::updates; }
  bool in_finish() const { return phase_ >= Phase::ends && phase_ <= Phase::updates; }
  /// Returns the step that others may be in, or one before.
  std::int64_t current() const { return in_step() ? step_ : next_; }
  Status fail(Status why);

  // rank_gradients.cpp
  void send_gradient(std::int32_t part, std::int32_t bucket, const StepEnd* end);
  ConstBytes portion_of_pushed(const Pushed& pushed, std::int32_t bucket, const Portion& portion) const;
  void keep_gradient(std::int32_t part, std::int32_t bucket);
  void forget_gradients();
  void send_sum(const HostSum& sum);
  static update::Contribution contribution_of(const Slot& slot, const Portion& portion,
                                              const update::Partition& partition, const update::SliceRange& slices,
                                              int worker);
  Status on_gradient(int from, transport::Frame frame, bool last);

  // rank_frames.cpp
  Status on_end(int from, const transport::Frame& frame);
  Status end_of(int from, StepState& state, Reader& in, ConstBytes long_facts);
  Status on_facts(int from, const transport::Frame& frame);
  Status on_updated(int from, const transport::Frame& frame);
  Status on_swapped(int from, const transport::Frame& frame);
  Status on_entering(int from, const transport::Frame& frame);
  Status on_initial(int from, transport::Frame frame);
  Status take_initial(const transport::Frame& frame);
  Status on_have(int from, const transport::Frame& frame);
  Status on_left(int from, const transport::Frame& frame);
  /// Checks that a frame of a step may come now.
  Status in_time(int from, const transport::Frame& frame);
  Status unexpected(int from, const transport::Frame& frame);
  /// Returns the portion that a key names, if there is one. plain: as portion_key().
  std::optional<PortionId> portion_of(std::uint64_t key, int plain) const;
  /// The same, for a portion whose values `from` is to tell this rank.
  std::optional<PortionId> told_portion(std::uint64_t key, int from) const;
  void take_values(const Portion& portion, ConstBytes values);
  Status refuse_initial(std::uint64_t operation, std::int64_t step);
  Status has_left(int rank);
  Status not_in_step(int rank);
  Status not_alike(int spreader, std::uint64_t operation, int other, std::int64_t step);

  const update::Layout& layout_;
  const RankSettings settings_;
  const ReducePlan plan_;
  const int rank_, ranks_;
  const Bytes parameters_;
  ToRanks& out_;
  update::Owner owner_;

  Phase phase_ = Phase::idle;
  Status failure_;
  std::int64_t step_ = -1, next_ = 0;  // the last one begun; the one after the last that was completed
  StepState steps_[2];
  std::vector<Pushed> pushed_;              // by this rank's part, then bucket
  std::vector<std::int32_t> parts_pushed_;  // by bucket
  std::vector<std::int32_t> order_;         // buckets, as their last part was pushed
  std::int32_t pushes_left_ = 0;
  std::int32_t held_part_ = -1, held_bucket_ = -1;  // pushed last, and not sent yet: it travels with the end
  bool sent_ = false;                               // a gradient of this step
  bool ended_early_ = false;  // the step's ends came with its last gradient, and finish() did not yet

  std::vector<std::byte> sums_;  // of the step, for other hosts: as ReducePlan::sums
  std::vector<int> end_with_;    // by rank: whose portion of the held gradient takes the end to it; -1: none does

  update::GradientFacts facts_;      // of the step, as far as they have come
  update::GradientFacts named_;      // which rank of this host has given what is not finite to a sum of this rank
  update::GradientSquares squares_;  // of a watched step, likewise
  int facts_missing_ = 0;
  std::vector<std::int64_t> facts_step_;  // by rank: the last step whose facts have come
  update::StepPlan step_plan_;
  std::vector<std::int32_t> updates_left_;  // by rank: words that it still owes
  int updates_missing_ = 0;                 // ranks that owe one
  std::int32_t far_missing_ = 0;            // words that other hosts owe
  std::vector<std::int64_t> updated_;       // by bucket, then owner: the last step in which that portion came back new
  std::vector<std::uint8_t> swapped_;       // by bucket, then owner: that portion has come in this swap
  update::StepOutcome outcome_;

  std::uint64_t operation_ = kStart;  // that is being spread
  std::vector<std::uint8_t> have_;    // by rank, at rank 0: it has the parameters
  int haves_missing_ = 0;
  transport::Frame early_;  // rank 0's parameters, which came before this rank asked for them
  bool has_early_ = false;
  std::vector<std::int64_t> latest_;                 // by rank: the last step of which something came
  std::vector<std::int64_t> left_;                   // by rank: the steps after which it left
  std::int64_t first_left_ = kNever;                 // the least of them
  std::vector<update::Contribution> contributions_;  // to a sum
  std::vector<std::byte> absent_;                    // in a sum
  std::vector<std::byte> body_;
};

}  // namespace cohaul::collective
