#pragma once
// Reduce and update in one pass: an Owner holds the optimizer's state of the partitions it owns; contributions go in,
// new parameters come out. Used alike by a rank of an all-reduce, a parameter server's shard, and a single process.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cohaul/update/layout.h"
#include "cohaul/update/rule.h"

namespace cohaul::update {

/// One worker's summed gradient of a partition (of all its slices): `Partition::bytes` bytes, aligned to its element.
/// absent: parameters that got no gradient there (indices, ascending); their bytes are zeros.
struct Contribution {
  ConstBytes gradient;
  std::span<const std::int32_t> absent;
};

class Owner {
 public:
  /// Keeps a reference to `layout`. State starts at zero. Allocates here only.
  Owner(const Layout& layout, const RuleSettings& settings, std::span<const PartitionId> owned);

  /// Sums the contributions in tree order and applies the rule. parameters_in / parameters_out: `Partition::bytes`
  /// bytes of this partition; may be the same. A parameter that is absent in all contributions is left as it is
  /// (copied where out ≠ in) and its count of updates does not move. Does not allocate, does not block.
  void apply(PartitionId partition, std::span<const Contribution> contributions, const StepSettings& settings,
             const std::byte* parameters_in, std::byte* parameters_out);

  bool owns(PartitionId partition) const;
  /// Bytes of optimizer state held.
  std::size_t state_bytes() const;

 private:
  struct State;
  template <class T>
  void apply_as(const Partition& partition, State& state, std::span<const Contribution> contributions,
                const StepSettings& settings, const std::byte* parameters_in, std::byte* parameters_out);

  const Layout& layout_;
  std::unique_ptr<const Rule> rule_;
  std::vector<State> states_;  // by partition; empty for those of others
  std::shared_ptr<std::byte> memory_;
  std::size_t state_bytes_ = 0;

 public:
  ~Owner();
  Owner(Owner&&) noexcept;
};

}  // namespace cohaul::update
