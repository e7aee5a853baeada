#include "cohaul/job/kernel_files.h"

#include <filesystem>
#include <fstream>

namespace cohaul::job {

std::string first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

std::vector<std::string> memory_groups(const std::string& root) {
  const std::string second = root + "/sys/fs/cgroup", first = second + "/memory";
  std::vector<std::string> out{second, first};
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:memory:/path", or "0::/path" in the second version
    const bool is_second = line.starts_with("0::");
    const std::size_t at = is_second ? 3 : line.find(":memory:");
    if (at == std::string::npos) continue;
    for (std::filesystem::path path = line.substr(is_second ? 3 : at + 8); path.has_relative_path();
         path = path.parent_path())
      out.push_back((is_second ? second : first) + path.string());
  }
  return out;
}

}  // namespace cohaul::job
