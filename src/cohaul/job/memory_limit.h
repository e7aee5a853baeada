#pragma once
// What the kernel's control groups say of memory: their limit, and whether they have killed for it.

#include <cstdint>
#include <string>
#include <vector>

namespace cohaul::job {

/// Of this process's groups for memory (v2 or v1), and those above them that are visible here. What it starts is in the same.
class MemoryLimit {
 public:
  /// root: where the kernel's folders /proc and /sys are.
  explicit MemoryLimit(const std::string& root = "");
  /// The least that one of the groups allows, in bytes; 0: no limit.
  std::int64_t bytes() const { return bytes_; }
  /// Returns why a process was killed, as a clause that follows "killed by signal 9 (SIGKILL)". Empty: since the last call, or since this was made, the
  /// kernel has killed none of these groups for want of memory.
  std::string killed();

 private:
  std::int64_t kills() const;
  std::vector<std::string> counters_;  // files with a line "oom_kill N"
  std::string limit_file_;             // of the least
  std::int64_t bytes_ = 0, seen_ = 0;
};

}  // namespace cohaul::job
