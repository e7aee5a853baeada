#pragma once
// Which model of the zoo to make, and how large.

#include <cstdint>
#include <map>
#include <string>

namespace cohaul::model {

struct ModelSettings {
  std::string name{};
  /// Initial parameters: "default", as PyTorch's layers draw them from torch's generator, or "zero".
  std::string init = "default";
  std::uint64_t seed = 0;  // torch's generator is seeded with it before the layers are made
  /// Sizes of the layers, by key; a missing one has the default of sizes_of().
  std::map<std::string, std::int64_t> sizes{};
};

}  // namespace cohaul::model
