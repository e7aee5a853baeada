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

std::vector<std::string> control_groups(const std::string& controller, const std::string& root) {
  const std::string second = root + "/sys/fs/cgroup", first = second + "/" + controller;
  std::vector<std::string> out{second, first};
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:cpu,cpuacct:/path", or "0::/path" in the second version
    const std::size_t begin = line.find(':'), end = line.find(':', begin + 1);
    if (begin == std::string::npos || end == std::string::npos) continue;
    const std::string controllers = "," + line.substr(begin + 1, end - begin - 1) + ",";
    const bool is_second = controllers == ",,";
    if (!is_second && controllers.find("," + controller + ",") == std::string::npos) continue;
    for (std::filesystem::path path = line.substr(end + 1); path.has_relative_path(); path = path.parent_path())
      out.push_back((is_second ? second : first) + path.string());
  }
  return out;
}

}  // namespace cohaul::job
