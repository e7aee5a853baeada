#include "cohaul/train/groups.h"

#include <fnmatch.h>

#include <algorithm>

namespace cohaul::train {
namespace {

bool matches(const std::string& pattern, const std::vector<std::string>& names) {
  return std::ranges::any_of(names,
                             [&](const std::string& n) { return ::fnmatch(pattern.c_str(), n.c_str(), 0) == 0; });
}

/// Returns the first few names: "fc1.weight, fc1.bias, … (12 in all)".
std::string some_of(std::span<const std::vector<std::string>> names) {
  constexpr std::size_t kShown = 8;
  std::string out;
  for (std::size_t p = 0; p < std::min(names.size(), kShown); ++p) out += (p == 0 ? "" : ", ") + names[p].front();
  return names.size() > kShown ? out + ", … (" + std::to_string(names.size()) + " in all)" : out;
}

}  // namespace

Result<std::vector<std::int32_t>> assign_groups(std::span<const std::vector<std::string>> names,
                                                std::span<const ParameterGroup> groups) {
  std::vector<std::int32_t> out(names.size(), 0);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    for (const std::string& pattern : groups[g].match) {
      bool found = false;
      for (std::size_t p = 0; p < names.size(); ++p) {
        if (!matches(pattern, names[p])) continue;
        found = true;
        if (out[p] == 0) out[p] = static_cast<std::int32_t>(g) + 1;
      }
      if (!found)
        return invalid("no parameter's name matches \"" + pattern + "\" of optimizer.group." + std::to_string(g) +
                       "; the model has " + some_of(names));
    }
  }
  return out;
}

}  // namespace cohaul::train
