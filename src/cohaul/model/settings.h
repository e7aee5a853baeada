#pragma once
// Which model of the zoo to make, and how large.

#include <cstdint>
#include <map>
#include <string>

namespace cohaul::model {

struct ModelSettings {
  std::string name{};
  std::string init = "default";                 // as PyTorch's layers, drawn from torch's generator; or "zero"
  std::uint64_t seed = 0;                       // torch's generator is seeded with it first
  std::map<std::string, std::int64_t> sizes{};  // the model's own keys; what is missing is as sizes_of() says
};

}  // namespace cohaul::model
