#include "cohaul/job/memory_limit.h"

#include <charconv>
#include <filesystem>
#include <fstream>
#include <utility>

#include "cohaul/job/kernel_files.h"

namespace cohaul::job {
namespace {

constexpr std::int64_t kNoLimit = std::int64_t{1} << 60;  // v1 writes one that no machine has

/// 0: no number, as in "max".
std::int64_t number_of(const std::string& text) {
  std::int64_t out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

}  // namespace

MemoryLimit::MemoryLimit(const std::string& root) {
  for (const std::string& group : control_groups("memory", root)) {
    for (const char* name : {"/memory.max", "/memory.limit_in_bytes"}) {
      const std::int64_t limit = number_of(first_line(group + name));
      if (limit <= 0 || limit >= kNoLimit || (bytes_ != 0 && limit >= bytes_)) continue;
      bytes_ = limit;
      limit_file_ = group + name;
    }
    std::error_code error;
    for (const char* name : {"/memory.events", "/memory.oom_control"})
      if (std::filesystem::exists(group + name, error)) counters_.push_back(group + name);
  }
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
