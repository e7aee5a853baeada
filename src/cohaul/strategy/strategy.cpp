#include "cohaul/strategy/strategy.h"

namespace cohaul::strategy {

std::string_view name(const Strategy& strategy) {
  constexpr std::string_view kNames[] = {"single", "all_reduce", "parameter_server", "tensor"};
  return kNames[strategy.index()];
}

}  // namespace cohaul::strategy
