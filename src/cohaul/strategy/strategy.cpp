#include "cohaul/strategy/strategy.h"

namespace cohaul::strategy {

std::string_view name(const Strategy& strategy) {
  constexpr std::string_view kNames[] = {"single", "all_reduce", "parameter_server", "tensor"};
  return kNames[strategy.index()];
}

bool is_asynchronous(const Strategy& strategy) {
  const auto* servers = std::get_if<ParameterServer>(&strategy);
  return servers != nullptr && !std::holds_alternative<Synchronous>(servers->consistency);
}

}  // namespace cohaul::strategy
