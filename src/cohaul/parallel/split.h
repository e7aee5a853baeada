#pragma once
// Parameters of which each rank of a group keeps one part, and exchanges between such ranks.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "cohaul/base/error.h"
#include "cohaul/base/status.h"
#include "cohaul/collective/group.h"

namespace cohaul::parallel {

/// Positions [begin, end) of a dim of `whole`.
struct Part {
  std::int64_t begin = 0, end = 0, whole = 0;
  std::int64_t size() const { return end - begin; }
  bool operator==(const Part&) const = default;
};

/// [⌊rank·whole/size⌋, ⌊(rank+1)·whole/size⌋): sizes differ by one at most; some are empty when whole < size.
constexpr Part part_of(std::int64_t whole, int rank, int size) {
  return {rank * whole / size, (rank + 1) * whole / size, whole};
}

/// A parameter, by the name that the module gives it, cut along `dim` (0 so far). Saved, loaded and hashed whole.
struct SplitParameter {
  std::string name;
  std::int64_t dim = 0;
  Part part;
};

/// The whole tensor out of every rank's part (contiguous, cut by part_of along dim 0), bit for bit, on every rank. All ranks call it.
/// Blocks as the group does. Errors: the group's.
Result<at::Tensor> gather_whole(const at::Tensor& part, const Part& where, collective::Group& group);

/// A contiguous float32 or float64 tensor's own memory.
collective::Buffer buffer(const at::Tensor& t);

}  // namespace cohaul::parallel
