#include "cohaul/update/instruction_set.h"

#include <hwy/targets.h>

namespace cohaul::update {

std::string instruction_set() {
  const std::vector<std::int64_t> best_first = hwy::SupportedAndGeneratedTargets();
  return best_first.empty() ? "none" : hwy::TargetName(best_first.front());
}

}  // namespace cohaul::update
