#include "cohaul/update/owner.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#include "cohaul/base/check.h"
#include "cohaul/update/sum_block.h"

namespace cohaul::update {
namespace {

constexpr int kStatesMax = 2;

/// Pages of zeros that cost memory once they are touched, large pages where the system has them.
std::shared_ptr<std::byte> allocate_zeros(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  ::madvise(p, bytes, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(p), [bytes](std::byte* b) { ::munmap(b, bytes); }};
}

constexpr std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

bool absent_in_all(std::int32_t parameter, std::span<const Contribution> contributions) {
  return std::ranges::all_of(contributions,
                             [&](const Contribution& c) { return std::ranges::binary_search(c.absent, parameter); });
}

}  // namespace

/// Of one partition. Each of the rule's arrays is laid out as the partition is, padding included.
struct Owner::State {
  std::array<std::byte*, kStatesMax> arrays{};
  std::vector<std::int64_t> counts;  // of updates, by segment
  bool owned = false;
};

Owner::Owner(const Layout& layout, const RuleSettings& settings, std::span<const PartitionId> owned)
    : layout_(layout), rule_(make_rule(settings)), states_(layout.partitions().size()) {
  COHAUL_CHECK(rule_->states() <= kStatesMax, "a rule has at most kStatesMax state arrays");
  for (PartitionId id : owned) {
    COHAUL_CHECK(id.value >= 0 && static_cast<std::size_t>(id.value) < states_.size() && !states_[id.value].owned,
                 "an owned partition exists and is named once");
    states_[id.value].owned = true;
    state_bytes_ += rule_->states() * aligned(layout.partitions()[id.value].bytes);
  }
  memory_ = allocate_zeros(state_bytes_);
  std::byte* next = memory_.get();
  for (std::size_t i = 0; i < states_.size(); ++i) {
    if (!states_[i].owned) continue;
    const Partition& partition = layout.partitions()[i];
    states_[i].counts.assign(partition.segment_last - partition.segment_first, 0);
    for (int k = 0; k < rule_->states(); ++k) {
      states_[i].arrays[k] = next;
      next += aligned(partition.bytes);
    }
  }
}

Owner::~Owner() = default;
Owner::Owner(Owner&&) noexcept = default;

bool Owner::owns(PartitionId partition) const {
  return partition.value >= 0 && static_cast<std::size_t>(partition.value) < states_.size() &&
         states_[partition.value].owned;
}

std::size_t Owner::state_bytes() const { return state_bytes_; }

void Owner::apply(PartitionId id, std::span<const Contribution> contributions, const StepSettings& settings,
                  const std::byte* parameters_in, std::byte* parameters_out) {
  COHAUL_CHECK(owns(id), "a partition is updated by its owner");
  COHAUL_CHECK(!contributions.empty(), "an update has at least one contribution");
  const Partition& partition = layout_.partitions()[id.value];
  for (const Contribution& c : contributions)
    COHAUL_CHECK(c.gradient.size() == partition.bytes, "a contribution is as long as its partition");
  if (partition.dtype == DType::float32)
    apply_as<float>(partition, states_[id.value], contributions, settings, parameters_in, parameters_out);
  else apply_as<double>(partition, states_[id.value], contributions, settings, parameters_in, parameters_out);
}

template <class T>
void Owner::apply_as(const Partition& partition, State& state, std::span<const Contribution> contributions,
                     const StepSettings& settings, const std::byte* parameters_in, std::byte* parameters_out) {
  alignas(kAlignment) T sum[kBlockElements];
  for (std::uint32_t s = partition.segment_first; s < partition.segment_last; ++s) {
    const Segment& segment = layout_.segments()[s];
    const std::uint64_t begin = segment.offset - partition.offset;
    if (absent_in_all(segment.parameter, contributions)) {
      if (parameters_out != parameters_in)
        std::memcpy(parameters_out + begin, parameters_in + begin, segment.elements * sizeof(T));
      continue;
    }
    const std::int64_t count = ++state.counts[s - partition.segment_first];
    // A single contribution is used where it is; several are summed block by block, and the sum used while in the
    // cache.
    const std::uint64_t step = contributions.size() == 1 ? segment.elements : kBlockElements;
    for (std::uint64_t done = 0; done < segment.elements; done += step) {
      const std::uint64_t offset = begin + done * sizeof(T);
      const std::uint64_t n = std::min(step, segment.elements - done);
      const auto term = [&](std::size_t k) {
        return reinterpret_cast<const T*>(contributions[k].gradient.data() + offset);
      };
      const T* gradient = sum_block(term, 0, contributions.size(), n, sum);
      T* arrays[kStatesMax] = {};
      for (int k = 0; k < rule_->states(); ++k) arrays[k] = reinterpret_cast<T*>(state.arrays[k] + offset);
      rule_->apply(gradient, reinterpret_cast<const T*>(parameters_in + offset),
                   reinterpret_cast<T*>(parameters_out + offset), arrays, n, settings, count);
    }
  }
}

}  // namespace cohaul::update
