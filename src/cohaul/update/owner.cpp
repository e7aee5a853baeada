#include "cohaul/update/owner.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <new>
#include <utility>

#include "cohaul/base/check.h"
#include "cohaul/update/block_ops.h"
#include "cohaul/update/gradient_squares.h"
#include "cohaul/update/segment_sum.h"

namespace cohaul::update {
namespace {

/// Returns zeros, in pages that cost memory only once they are touched; large pages where the system has them.
std::shared_ptr<std::byte> allocate_zeros(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  ::madvise(p, bytes, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(p), [bytes](std::byte* b) { ::munmap(b, bytes); }};
}

/// Notes, for a block whose squares are not finite, which of its elements are not, and at which worker.
template <class T>
void note_non_finite(const SegmentSum<T>& segment, std::int32_t parameter, std::uint64_t element, std::size_t n,
                     const T* sum, GradientFacts& facts) {
  GradientFacts here;
  here.non_finite = count_non_finite(sum, n);
  here.overflow = here.non_finite == 0;
  if (here.non_finite > 0) {
    here.parameter = parameter;
    here.worker = segment.worker_not_finite(element, n);
  }
  facts.merge(here);
}

/// squares_of: by segment of the partition, or empty. `sums` gets the sum, as the partition is laid out, or is null.
template <class T>
void measure_as(const Layout& layout, const Partition& partition, std::span<const Contribution> contributions,
                GradientFacts& facts, std::span<double> squares_of, std::byte* sums) {
  alignas(kAlignment) T scratch[kBlockElements];
  for (std::uint32_t s = partition.segment_first; s < partition.segment_last; ++s) {
    const Segment& segment = layout.segments()[s];
    const SegmentSum<T> sum(layout, partition, segment, contributions);
    double* of_segment = squares_of.empty() ? nullptr : &squares_of[s - partition.segment_first];
    if (of_segment) *of_segment = sum.absent_in_all() ? kNoGradient : 0;
    if (sum.absent_in_all()) continue;
    for (std::uint64_t done = 0; done < segment.elements; done += kBlockElements) {
      const std::size_t n = std::min<std::uint64_t>(kBlockElements, segment.elements - done);
      T* kept = sums ? reinterpret_cast<T*>(sums + segment.offset - partition.offset) + done : nullptr;
      const T* block = sum.block(done, n, kept ? kept : scratch);
      if (kept && block != kept) std::copy_n(block, n, kept);
      const double square = squares(block, n);
      if (of_segment) *of_segment += square;
      if (std::isfinite(square)) facts.squares.add(square);
      else note_non_finite(sum, segment.parameter, done, n, block, facts);
    }
  }
}

void check(const Partition& partition, std::span<const Contribution> contributions) {
  COHAUL_CHECK(!contributions.empty(), "a sum has at least one contribution");
  for (const Contribution& c : contributions)
    COHAUL_CHECK(c.gradient.size() == partition.bytes || (c.gradient.empty() && !c.absent.empty()),
                 "a contribution is as long as its partition");
}

void measure_into(const Layout& layout, PartitionId id, std::span<const Contribution> contributions,
                  GradientFacts& facts, std::span<double> squares, std::byte* sums) {
  const Partition& partition = layout.partitions()[id.value];
  check(partition, contributions);
  if (layout.is_of_buffers(id)) {
    std::ranges::fill(squares, kNoGradient);
    return;
  }
  if (partition.dtype == DType::float32) measure_as<float>(layout, partition, contributions, facts, squares, sums);
  else measure_as<double>(layout, partition, contributions, facts, squares, sums);
}

/// A sum of squares. It is exact between blocks, so that it has the same bits whatever lies beside the parameter. Not
/// finite where a block's is not.
class SquareSum {
 public:
  void add(double square) {
    if (std::isfinite(square)) finite_.add(square);
    else rest_ += square;
  }
  double root() const { return std::sqrt(finite_.value() + rest_); }

 private:
  ExactSum finite_;
  double rest_ = 0;
};

}  // namespace

Status check_fits(const Layout& layout, const OptimizerSettings& settings) {
  if (static_cast<std::size_t>(layout.groups()) > settings.groups.size())
    return invalid("a parameter is of a group that the optimizer does not have");
  for (std::size_t p = 0; p < layout.parameters().size(); ++p) {
    const ParameterSpec& spec = layout.parameters()[p];
    const RuleSettings& rule = settings.groups[static_cast<std::size_t>(spec.group)];
    if (layout.is_trained(static_cast<std::int32_t>(p)) && rule.needs_whole_parameters() && !spec.whole)
      return invalid("parameter " + spec.name + " may be cut, and " + std::string(name(rule.kind)) +
                     " needs all of it at one owner");
  }
  return {};
}

/// The state of one partition. Each of the rule's arrays is laid out as the partition is, padding included.
struct Owner::State {
  std::array<std::byte*, kStatesMax> arrays{};
  std::byte* average = nullptr;      // of the values, laid out as the partition is; null: none is kept
  bool averaging = false;            // it has begun
  std::byte* sum = nullptr;          // place for the sum of the contributions that were measured
  bool summed = false;               // it is there
  std::vector<std::int64_t> counts;  // of updates, by segment
  bool owned = false;
};

void measure(const Layout& layout, PartitionId id, std::span<const Contribution> contributions, GradientFacts& facts,
             std::span<double> squares) {
  measure_into(layout, id, contributions, facts, squares, nullptr);
}

void Owner::measure(PartitionId id, std::span<const Contribution> contributions, GradientFacts& facts,
                    std::span<double> squares) {
  COHAUL_CHECK(owns(id), "a partition is measured by its owner");
  State& state = states_[id.value];
  // A single contribution is its own sum.
  state.summed = state.sum != nullptr && contributions.size() > 1 && !layout_.is_of_buffers(id);
  measure_into(layout_, id, contributions, facts, squares, state.summed ? state.sum : nullptr);
}

Owner::Owner(const Layout& layout, const OptimizerSettings& settings, const GradientPolicy& policy,
             std::span<const PartitionId> owned)
    : layout_(layout), rates_(settings), policy_(policy), ema_(settings.ema), states_(layout.partitions().size()) {
  COHAUL_CHECK(check_fits(layout, settings).ok(), "an optimizer fits its layout");
  for (const RuleSettings& rule : settings.groups) {
    rules_.push_back(make_rule(rule));
    COHAUL_CHECK(rules_.back()->states() <= kStatesMax, "a rule has at most kStatesMax state arrays");
  }
  for (PartitionId id : owned) {
    COHAUL_CHECK(id.value >= 0 && static_cast<std::size_t>(id.value) < states_.size() && !states_[id.value].owned,
                 "an owned partition exists and is named once");
    states_[id.value].owned = true;
    state_bytes_ += static_cast<std::size_t>(states_of(layout.partitions()[id.value])) *
                    aligned(layout.partitions()[id.value].bytes);
    state_bytes_ += average_bytes(id);
  }
  if (const std::size_t bytes = direction_bytes(); bytes > 0) direction_ = allocate_zeros(bytes);
  memory_ = allocate_zeros(state_bytes_);
  if (policy.needs_facts()) {
    std::size_t bytes = 0;
    for (PartitionId id : owned) bytes += aligned(layout.partitions()[id.value].bytes);
    sums_ = allocate_zeros(bytes);
  }
  std::byte *next = memory_.get(), *next_sum = sums_.get();
  for (std::size_t i = 0; i < states_.size(); ++i) {
    if (!states_[i].owned) continue;
    const Partition& partition = layout.partitions()[i];
    states_[i].counts.assign(partition.segment_last - partition.segment_first, 0);
    for (int k = 0; k < states_of(partition); ++k) {
      states_[i].arrays[k] = next;
      next += aligned(partition.bytes);
    }
    if (const std::size_t bytes = average_bytes(PartitionId(static_cast<std::int32_t>(i))); bytes > 0)
      states_[i].average = next, next += bytes;
    if (next_sum == nullptr) continue;
    states_[i].sum = next_sum;
    next_sum += aligned(partition.bytes);
  }
}

Owner::~Owner() = default;
Owner::Owner(Owner&&) noexcept = default;

std::size_t Owner::group_of(const Segment& segment) const {
  return static_cast<std::size_t>(layout_.parameters()[static_cast<std::size_t>(segment.parameter)].group);
}

int Owner::states_of(const Partition& partition) const {
  int most = 0;
  if (layout_.buckets()[partition.bucket].reduce != Reduce::update) return most;
  for (std::uint32_t s = partition.segment_first; s < partition.segment_last; ++s)
    most = std::max(most, rules_[group_of(layout_.segments()[s])]->states());
  return most;
}

std::size_t Owner::average_bytes(PartitionId id) const {
  if (ema_ == 0 || layout_.is_of_buffers(id)) return 0;
  return aligned(layout_.partitions()[id.value].bytes);
}

/// Begins the average with the values before the first update.
void Owner::begin_average(const Partition& partition, State& state, const std::byte* values) {
  if (state.average == nullptr || std::exchange(state.averaging, true)) return;
  std::memcpy(state.average, values, partition.bytes);
}

void Owner::move_average(const Partition& partition, State& state, const std::byte* values) {
  if (state.average == nullptr) return;
  for (std::uint32_t s = partition.segment_first; s < partition.segment_last; ++s) {
    const Segment& segment = layout_.segments()[s];
    const std::uint64_t begin = segment.offset - partition.offset;
    const auto move = [&]<class T>(T) {
      update::move_average(reinterpret_cast<const T*>(values + begin), reinterpret_cast<T*>(state.average + begin),
                           segment.elements, 1 - ema_);
    };
    if (partition.dtype == DType::float32) move(0.0F);
    else move(0.0);
  }
}

void Owner::swap_averages(PartitionId id, const std::byte* values, std::byte* averages_out) {
  COHAUL_CHECK(owns(id), "averages are swapped by their owner");
  State& state = states_[id.value];
  const std::size_t bytes = layout_.partitions()[id.value].bytes;
  if (averages_out != values) std::memcpy(averages_out, values, bytes);
  if (state.averaging) std::swap_ranges(averages_out, averages_out + bytes, state.average);
}

bool Owner::owns(PartitionId partition) const {
  return partition.value >= 0 && static_cast<std::size_t>(partition.value) < states_.size() &&
         states_[partition.value].owned;
}

std::vector<StatePiece> Owner::pieces(const std::function<std::byte*(PartitionId)>& values_of) {
  std::vector<StatePiece> out;
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const PartitionId id(static_cast<std::int32_t>(i));
    if (!states_[i].owned || layout_.is_of_buffers(id)) continue;
    const Partition& partition = layout_.partitions()[i];
    std::byte* values = values_of(id);
    for (std::uint32_t s = partition.segment_first; s < partition.segment_last; ++s) {
      const Segment& segment = layout_.segments()[s];
      const std::size_t size = size_of(partition.dtype);
      StatePiece& piece = out.emplace_back();
      piece.parameter = segment.parameter;
      piece.first = (segment.offset - layout_.offset(segment.parameter)) / size;
      piece.elements = segment.elements;
      piece.dtype = partition.dtype;
      const std::uint64_t begin = segment.offset - partition.offset;
      piece.values = {values + begin, segment.elements * size};
      piece.states_used = rules_[group_of(segment)]->states();
      for (std::size_t k = 0; k < static_cast<std::size_t>(piece.states_used); ++k)
        piece.states[k] = {states_[i].arrays[k] + begin, segment.elements * size};
      piece.count = &states_[i].counts[s - partition.segment_first];
      if (states_[i].average == nullptr) continue;
      piece.average = {states_[i].average + begin, segment.elements * size};
      piece.has_average = &states_[i].averaging;
    }
  }
  return out;
}

/// Returns the bytes for the largest segment here that a layer-wise rule updates.
std::size_t Owner::direction_bytes() const {
  std::size_t most = 0;
  for (std::size_t i = 0; i < states_.size(); ++i) {
    const Partition& partition = layout_.partitions()[i];
    if (!states_[i].owned || layout_.is_of_buffers(PartitionId(static_cast<std::int32_t>(i)))) continue;
    for (std::uint32_t s = partition.segment_first; s < partition.segment_last; ++s) {
      const Segment& segment = layout_.segments()[s];
      if (rules_[group_of(segment)]->layerwise())
        most = std::max(most, static_cast<std::size_t>(segment.elements) * size_of(partition.dtype));
    }
  }
  return most;
}

std::size_t Owner::state_bytes() const { return state_bytes_ + (direction_ ? direction_bytes() : 0); }

bool Owner::apply(PartitionId id, std::span<const Contribution> contributions, std::int64_t update,
                  const StepPlan& plan, const std::byte* parameters_in, std::byte* parameters_out) {
  COHAUL_CHECK(owns(id), "a partition is updated by its owner");
  const Partition& partition = layout_.partitions()[id.value];
  check(partition, contributions);
  if (layout_.is_of_buffers(id)) {
    return partition.dtype == DType::float32
               ? reduce_buffers<float>(partition, contributions, parameters_in, parameters_out)
               : reduce_buffers<double>(partition, contributions, parameters_in, parameters_out);
  }
  if (plan.action != StepPlan::Action::apply) {
    states_[id.value].summed = false;
    if (parameters_out != parameters_in) std::memcpy(parameters_out, parameters_in, partition.bytes);
    return false;
  }
  State& state = states_[id.value];
  begin_average(partition, state, parameters_in);
  const bool updated =
      partition.dtype == DType::float32
          ? apply_as<float>(partition, state, contributions, update, plan, parameters_in, parameters_out)
          : apply_as<double>(partition, state, contributions, update, plan, parameters_in, parameters_out);
  move_average(partition, state, parameters_out);
  return updated;
}

template <class T>
bool Owner::reduce_buffers(const Partition& partition, std::span<const Contribution> contributions,
                           const std::byte* values_in, std::byte* values_out) const {
  alignas(kAlignment) T scratch[kBlockElements];
  if (layout_.buckets()[partition.bucket].reduce == Reduce::first) contributions = contributions.first(1);
  bool updated = false;
  for (std::uint32_t s = partition.segment_first; s < partition.segment_last; ++s) {
    const Segment& segment = layout_.segments()[s];
    const std::uint64_t begin = segment.offset - partition.offset;
    const SegmentSum<T> sum(layout_, partition, segment, contributions);
    const auto* before = reinterpret_cast<const T*>(values_in + begin);
    const bool same = sum.absent_in_all();
    updated |= !same;
    if (same && values_in == values_out) continue;
    for (std::uint64_t done = 0; done < segment.elements; done += kBlockElements) {
      const std::size_t n = std::min<std::uint64_t>(kBlockElements, segment.elements - done);
      const T* mean = sum.mean_block(before, done, n, scratch);
      std::memmove(values_out + begin + done * sizeof(T), mean, n * sizeof(T));
    }
  }
  return updated;
}

/// gradient(done, n): returns elements [done, done + n), n <= kBlockElements.
template <class T, class Gradient>
void Owner::apply_layerwise(const LayerwiseRule& rule, const Gradient& gradient, const T* in, T* out, T* const* arrays,
                            std::uint64_t elements, double lr, std::int64_t count) {
  T* direction = reinterpret_cast<T*>(direction_.get());
  SquareSum of_parameter, of_direction;
  for (std::uint64_t done = 0; done < elements; done += kBlockElements) {
    const std::size_t n = std::min<std::uint64_t>(kBlockElements, elements - done);
    T* at[kStatesMax] = {};
    for (int k = 0; k < rule.states(); ++k) at[k] = arrays[k] + done;
    rule.direct(gradient(done, n), in + done, direction + done, at, n, count);
    of_parameter.add(squares(in + done, n));
    of_direction.add(squares(direction + done, n));
  }
  rule.apply(direction, in, out, arrays, elements, lr * rule.trust({of_parameter.root(), of_direction.root()}), count);
}

template <class T>
bool Owner::apply_as(const Partition& partition, State& state, std::span<const Contribution> contributions,
                     std::int64_t update, const StepPlan& plan, const std::byte* parameters_in,
                     std::byte* parameters_out) {
  alignas(kAlignment) T scratch[kBlockElements];
  const bool scaled = plan.factor != 1 || policy_.clip_value > 0;
  const bool summed = std::exchange(state.summed, false);
  // A single contribution that is not scaled is used in place. Otherwise blocks are summed, and used while they are
  // in the cache.
  const bool whole = (contributions.size() == 1 || summed) && !scaled;
  bool updated = false;
  for (std::uint32_t s = partition.segment_first; s < partition.segment_last; ++s) {
    const Segment& segment = layout_.segments()[s];
    const std::uint64_t begin = segment.offset - partition.offset;
    const SegmentSum<T> sum(layout_, partition, segment, contributions);
    if (sum.absent_in_all()) {
      if (parameters_out != parameters_in && segment.elements > 0)
        std::memcpy(parameters_out + begin, parameters_in + begin, segment.elements * sizeof(T));
      continue;
    }
    updated = true;
    const std::int64_t count = ++state.counts[s - partition.segment_first];
    const std::size_t group = group_of(segment);
    const Rule& rule = *rules_[group];
    const int states = rule.states();
    const double lr = rates_.at(group, first_ + update);
    const auto gradient_at = [&](std::uint64_t done, std::size_t n) {
      const T* gradient = summed  ? reinterpret_cast<const T*>(state.sum + begin) + done
                          : whole ? sum.term(0, done)
                                  : sum.block(done, n, scratch);
      if (scaled) scale(gradient, scratch, n, plan.factor, policy_.clip_value), gradient = scratch;
      return gradient;
    };
    const T* in = reinterpret_cast<const T*>(parameters_in + begin);
    T* out = reinterpret_cast<T*>(parameters_out + begin);
    T* arrays[kStatesMax] = {};
    for (int k = 0; k < states; ++k) arrays[k] = reinterpret_cast<T*>(state.arrays[k] + begin);
    if (const LayerwiseRule* layerwise = rule.layerwise()) {
      apply_layerwise(*layerwise, gradient_at, in, out, arrays, segment.elements, lr, count);
      continue;
    }
    const std::uint64_t step = whole ? segment.elements : kBlockElements;
    for (std::uint64_t done = 0; done < segment.elements; done += step) {
      const std::uint64_t n = std::min(step, segment.elements - done);
      T* at[kStatesMax] = {};
      for (int k = 0; k < states; ++k) at[k] = arrays[k] + done;
      rule.apply(gradient_at(done, n), in + done, out + done, at, n, lr, count);
    }
  }
  return updated;
}

}  // namespace cohaul::update
