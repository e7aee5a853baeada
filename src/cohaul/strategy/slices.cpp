#include "cohaul/strategy/slices.h"

#include <bit>
#include <string>

namespace cohaul::strategy {

Result<update::SliceRange> share_slices(int slices, int rank, int workers) {
  int each = slices / workers;
  if (slices < 1 || slices % workers != 0 || (workers > 1 && !std::has_single_bit(static_cast<unsigned>(each))))
    return invalid(std::to_string(slices) + " slices cannot be shared by " + std::to_string(workers) +
                   " workers: slices ÷ workers must be 1, 2, 4, 8, …");
  return update::SliceRange{rank * each, (rank + 1) * each, slices};
}

}  // namespace cohaul::strategy
