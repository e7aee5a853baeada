#include "cohaul/strategy/slices.h"

#include <string>

#include "cohaul/update/slices.h"

namespace cohaul::strategy {

Result<int> slices_for(int asked, int workers) {
  if (asked == 0) return workers;
  if (asked >= workers && asked <= update::kSlicesMax) return asked;
  return invalid(std::to_string(asked) + " slices cannot be shared by " + std::to_string(workers) +
                 " workers: give at least as many slices as workers, and at most " +
                 std::to_string(update::kSlicesMax));
}

}  // namespace cohaul::strategy
