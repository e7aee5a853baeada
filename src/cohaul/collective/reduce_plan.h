#pragma once
// Who owns and who contributes what in an all-reduce: a pure function of layout, ranks and slices.

#include <cstdint>
#include <vector>

#include "cohaul/base/ids.h"
#include "cohaul/update/absent.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/slices.h"

namespace cohaul::collective {

/// The partitions of one run that one rank owns: [first, last), and their bytes in the flat area.
struct Share {
  std::int32_t first = 0, last = 0;
  std::uint64_t offset = 0, bytes = 0;
  std::int32_t parameter_first = 0, parameter_last = 0;  // of which it has elements, counted in the run
  bool empty() const { return first == last; }
  /// All parameters of which it has elements.
  bool is_all_absent(update::AbsentMask absent) const {
    for (std::int32_t p = parameter_first; p < parameter_last; ++p)
      if (!update::is_absent(absent, static_cast<std::size_t>(p))) return false;
    return true;
  }
};

/// As one rank sees it.
struct ReducePlan {
  ReducePlan(const update::Layout& layout, int rank, int ranks, std::int32_t slices);

  const Share& share(std::size_t run, int of) const { return shares[run * static_cast<std::size_t>(ranks) + of]; }
  const Share& mine(std::size_t run) const { return share(run, rank); }
  bool owns(int of, PartitionId partition) const { return owners[static_cast<std::size_t>(partition.value)] == of; }
  std::int32_t parts_of(int of) const { return part_first[of + 1] - part_first[of]; }
  /// Gradients that `from` sends this rank in a step.
  std::int32_t gradients_of(int from) const { return parts_of(from) * static_cast<std::int32_t>(owned.size()); }
  std::vector<PartitionId> partitions() const;  // that this rank owns

  const int rank, ranks;
  const std::vector<std::int32_t> owners;  // by partition: the rank that owns it
  std::vector<Share> shares;               // by run, then rank
  std::vector<std::int32_t> owned;         // runs of which this rank owns a share
  std::vector<std::int32_t> owned_index;   // by run: its place in `owned`; -1
  std::vector<std::int32_t> runs_owned;    // by rank: how many runs it owns a share of
  std::vector<update::SliceRange> slices;  // by rank
  std::vector<update::SliceRange> parts;   // of all ranks: ascending, they cover all slices
  std::vector<std::int32_t> part_first;    // by rank, and one more at the end: its first in `parts`
};

}  // namespace cohaul::collective
