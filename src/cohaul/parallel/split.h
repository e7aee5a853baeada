#pragma once
// Parameters that are split over the ranks of a group, and the exchanges between these ranks.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "cohaul/base/status.h"

namespace cohaul::collective {
struct Buffer;
class Group;
}  // namespace cohaul::collective

namespace cohaul::parallel {

/// Positions [begin, end) of a dim that has size `whole`.
struct Part {
  std::int64_t begin = 0, end = 0, whole = 0;
  std::int64_t size() const { return end - begin; }
  bool operator==(const Part&) const = default;
};

/// Returns [⌊rank·whole/size⌋, ⌊(rank+1)·whole/size⌋). Sizes differ by at most one; some parts are empty when whole < size.
constexpr Part part_of(std::int64_t whole, int rank, int size) {
  return {rank * whole / size, (rank + 1) * whole / size, whole};
}

/// A parameter that is split along `dim` (always 0 so far). name: as the module has it. It is saved, loaded and hashed whole.
struct SplitParameter {
  std::string name;
  std::int64_t dim = 0;
  Part part;
};

/// Returns the whole tensor, put together from all ranks' parts, bit for bit, on every rank. part: contiguous, cut by part_of() along dim 0. All
/// ranks call it. Blocks as the group does. Errors: the group's.
Result<at::Tensor> gather_whole(const at::Tensor& part, const Part& where, collective::Group& group);

/// Returns the memory of a contiguous float32 or float64 tensor, not copied.
collective::Buffer buffer(const at::Tensor& t);

}  // namespace cohaul::parallel
