#pragma once
// Reduce and update in one pass: an Owner holds the optimizer's state of the partitions it owns; contributions go in,
// new parameters come out. A rank of an all-reduce, a shard of a parameter server and a single process use it alike.

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "cohaul/update/absent.h"
#include "cohaul/update/gradient_policy.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/optimizer_settings.h"
#include "cohaul/update/rule.h"
#include "cohaul/update/slices.h"
#include "cohaul/update/step_plan.h"

namespace cohaul::update {

/// A gradient of a partition, summed over the slices of one complete subtree (slices.h). One worker has made it, or
/// several of one host together. It has `Partition::bytes` bytes, aligned to its element, or may be empty where all
/// parameters of the partition are absent.
struct Contribution {
  ConstBytes gradient;
  AbsentMask absent;  // of the partition's bucket; the bytes of absent parameters are not read
  SliceRange slices{};
  std::int32_t worker = 0;  // -1: several
};

/// Adds to `facts` those of a partition's gradient, summed over `contributions` in tree order. They ascend, do not
/// overlap, and cover all slices. squares: gets Σ x² of each of the partition's segments, or kNoGradient
/// (gradient_squares.h); empty: not wanted. Does not allocate, does not block.
void measure(const Layout& layout, PartitionId partition, std::span<const Contribution> contributions,
             GradientFacts& facts, std::span<double> squares = {});

/// Checks that the settings fit the layout. invalid: a parameter's group is not in them, or a parameter is cut
/// although its rule needs all of it.
Status check_fits(const Layout& layout, const OptimizerSettings& settings);

/// Consecutive elements of one parameter, and what their owner keeps of them.
struct StatePiece {
  std::int32_t parameter = 0;
  std::uint64_t first = 0, elements = 0;  // of the parameter, as it lies in memory
  DType dtype = DType::float32;
  Bytes values;
  std::array<Bytes, kStatesMax> states{};  // `states_used` arrays of as many elements
  int states_used = 0;
  Bytes average{};                // of the values; empty: none is kept
  bool* has_average = nullptr;    // whether it has begun; null: none is kept
  std::int64_t* count = nullptr;  // updates of these elements
};

class Owner {
 public:
  /// Keeps a reference to `layout`, whose groups `settings` has. State starts at zero. Allocates here only.
  Owner(const Layout& layout, const OptimizerSettings& settings, const GradientPolicy& policy,
        std::span<const PartitionId> owned);

  /// Sets the rates of the groups from now on, instead of their own (Rates::set).
  void set_rates(std::span<const double> rates) { rates_.set(rates); }

  /// As measure() above, and keeps the sum, so that apply() does not read the contributions again. Where the policy
  /// needs facts, the next call must be apply() with the same contributions.
  void measure(PartitionId partition, std::span<const Contribution> contributions, GradientFacts& facts,
               std::span<double> squares = {});
  /// Returns whether the policy watches update `update`, from 0 (as apply() counts).
  bool watches(std::int64_t update) const { return policy_.watches(first_ + update); }
  /// Returns whether all gradients of that update must be measured before one is applied.
  bool needs_facts(std::int64_t update) const { return policy_.needs_facts() || watches(update); }

  /// Sums the contributions (as measure() takes them) in tree order, scales and clips them as plan and policy say,
  /// and applies each group's rule with its rate of update `update`, from 0.
  /// parameters_in / parameters_out: `Partition::bytes` bytes of this partition; may be the same. A parameter that is
  /// absent in all contributions is left as it is (copied where out ≠ in), and so are all where the plan skips; their
  /// count of updates then stays.
  /// Of a partition of buffers the contributions are values: their mean over the slices comes out (or slice 0's, see
  /// Reduce), also where the plan skips. For an absent one the value before stands in. Returns whether anything was
  /// updated. Does not allocate, does not block.
  bool apply(PartitionId partition, std::span<const Contribution> contributions, std::int64_t update,
             const StepPlan& plan, const std::byte* parameters_in, std::byte* parameters_out);

  /// Returns whether moving averages are kept (OptimizerSettings::ema). apply() moves them after an update, those of
  /// absent parameters too, but not where the plan skips.
  bool keeps_averages() const { return ema_ > 0; }
  /// Swaps a partition's values with its averages; the same call undoes it. Before the first update, and for buffers,
  /// both are the same. averages_out: may be values.
  void swap_averages(PartitionId partition, const std::byte* values, std::byte* averages_out);

  bool owns(PartitionId partition) const;
  /// Returns what it keeps, by partition, then as elements lie in memory, to be read between steps, and written
  /// before the first. values_of: where the values of a partition lie. The pieces are views, valid while owner and
  /// values live.
  std::vector<StatePiece> pieces(const std::function<std::byte*(PartitionId)>& values_of);
  /// The same, for values that lie in the layout's flat area.
  std::vector<StatePiece> pieces(Bytes flat) {
    return pieces([&](PartitionId id) { return flat.data() + layout_.partitions()[id.value].offset; });
  }
  /// Tells that so many updates were done before its first. What apply() gets is counted on from there.
  void set_first(std::int64_t updates) { first_ = updates; }
  /// Returns the bytes of optimizer state held, and of what an update needs besides.
  std::size_t state_bytes() const;

 private:
  struct State;
  std::size_t group_of(const Segment& segment) const;
  /// Returns how many arrays of state a partition needs: the most of its groups.
  int states_of(const Partition& partition) const;
  std::size_t direction_bytes() const;
  std::size_t average_bytes(PartitionId partition) const;
  void begin_average(const Partition& partition, State& state, const std::byte* values);
  void move_average(const Partition& partition, State& state, const std::byte* values);
  template <class T>
  bool reduce_buffers(const Partition& partition, std::span<const Contribution> contributions,
                      const std::byte* values_in, std::byte* values_out) const;
  template <class T, class Gradient>
  void apply_layerwise(const LayerwiseRule& rule, const Gradient& gradient, const T* in, T* out, T* const* arrays,
                       std::uint64_t elements, double lr, std::int64_t count);
  template <class T>
  bool apply_as(const Partition& partition, State& state, std::span<const Contribution> contributions,
                std::int64_t update, const StepPlan& plan, const std::byte* parameters_in, std::byte* parameters_out);

  const Layout& layout_;
  std::vector<std::unique_ptr<const Rule>> rules_;  // by group
  Rates rates_;
  std::int64_t first_ = 0;
  const GradientPolicy policy_;
  const double ema_;           // decay; 0: no average
  std::vector<State> states_;  // by partition; empty for those of others
  std::shared_ptr<std::byte> memory_, sums_;
  std::shared_ptr<std::byte> direction_;  // of the parameter that a layer-wise rule updates
  std::size_t state_bytes_ = 0;

 public:
  ~Owner();
  Owner(Owner&&) noexcept;
};

}  // namespace cohaul::update
