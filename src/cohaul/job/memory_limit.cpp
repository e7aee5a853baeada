#include "cohaul/job/memory_limit.h"

#include <charconv>
#include <filesystem>
#include <fstream>
#include <utility>

namespace cohaul::job {
namespace {

constexpr std::int64_t kNoLimit = std::int64_t{1} << 60;  // v1 writes one that no machine has

/// 0: no number, as in "max".
std::int64_t number_of(const std::string& text) {
  std::int64_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

/// The path of this process's group in a line such as "4:memory:/path" (v1) or "0::/path" (v2). Empty: the line is of another controller.
std::string path_in(const std::string& line, bool v2) {
  if (v2) return line.starts_with("0::") ? line.substr(3) : "";
  const std::size_t at = line.find(":memory:");
  return at == std::string::npos ? "" : line.substr(at + 8);
}

}  // namespace

MemoryLimit::MemoryLimit(const std::string& root) {
  const auto look = [&](const std::string& mount, bool v2) {
    std::ifstream groups(root + "/proc/self/cgroup");
    std::string path;
    for (std::string line; path.empty() && std::getline(groups, line);) path = path_in(line, v2);
    for (;; path.resize(path.rfind('/'))) {
      if (path == "/") path.clear();
      const std::string folder = root + mount + path + "/";
      std::ifstream limit(folder + (v2 ? "memory.max" : "memory.limit_in_bytes"));
      std::string text;
      std::getline(limit, text);
      if (const std::int64_t n = number_of(text); n > 0 && n < kNoLimit && (bytes_ == 0 || n < bytes_)) {
        bytes_ = n;
        limit_file_ = folder + (v2 ? "memory.max" : "memory.limit_in_bytes");
      }
      const std::string counter = folder + (v2 ? "memory.events" : "memory.oom_control");
      std::error_code error;
      if (std::filesystem::exists(counter, error)) counters_.push_back(counter);
      if (path.empty() || path.rfind('/') == std::string::npos) return;
    }
  };
  look("/sys/fs/cgroup/memory", false);
  if (counters_.empty()) look("/sys/fs/cgroup", true);
  seen_ = kills();
}

std::int64_t MemoryLimit::kills() const {
  std::int64_t out = 0;
  for (const std::string& path : counters_) {
    std::ifstream in(path);
    for (std::string name, value; in >> name >> value;)
      if (name == "oom_kill") out += number_of(value);
  }
  return out;
}

std::string MemoryLimit::killed() {
  const std::int64_t now = kills();
  if (std::exchange(seen_, now) == now) return "";
  constexpr std::int64_t kMebi = 1 << 20;
  if (bytes_ == 0) return "the machine had no memory left: fewer workers or a smaller train.batch need less";
  return "its control group has no memory left: " + limit_file_ + " allows " + std::to_string(bytes_ / kMebi) +
         " MiB for all its processes; raise it, or use fewer workers or a smaller train.batch";
}

}  // namespace cohaul::job
