#pragma once
// The built `cohaul` as a process of its own, with all that it starts.

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cohaul/base/temporary_folder.h"

namespace cohaul::tests {

using Arguments = std::vector<std::string>;

/// A new empty folder, which goes with its owner.
TemporaryFolder fresh_folder();
/// Every "{}" replaced.
std::string with_folder(std::string text, const std::string& folder);
/// The whole file; empty: none.
std::string read_file(const std::string& path);
/// The JSON lines of a text; a line that is none fails the test.
std::vector<nlohmann::json> json_lines(const std::string& text);

/// Asks every few milliseconds; false: not within limit_s.
bool eventually(double limit_s, const std::function<bool()>& condition);

struct Found {
  pid_t pid = 0;
  std::string role;  // of one that the launcher started: "worker", "server"; else empty
  int rank = -1;
};

/// Runs in a process group of its own, stdout and stderr in `out` and `err` of its folder. Its descendants are known by a variable in
/// their environment. At the end of its scope what still runs is killed, and the folder removed.
class Running {
 public:
  /// Arguments of `cohaul`; "{}" in them stands for the folder.
  explicit Running(Arguments arguments, TemporaryFolder folder = fresh_folder())
      : Running(COHAUL_BIN "/cohaul", std::move(arguments), std::move(folder)) {}
  /// Of another program.
  Running(const std::string& program, Arguments arguments, TemporaryFolder folder = fresh_folder());
  ~Running();
  Running(const Running&) = delete;

  pid_t pid() const { return pid_; }
  const std::string& folder() const { return folder_.path(); }
  std::string out() const { return read_file(folder_.file("out")); }
  std::string err() const { return read_file(folder_.file("err")); }
  double seconds() const;  // since the start

  /// The exit code, 128 + signal if it was killed; nothing: still there after limit_s.
  std::optional<int> wait(double limit_s);
  /// Those it has started, directly or not, and that live (a zombie does not).
  std::vector<Found> descendants() const;
  /// Waits for a worker or server to be there; 0: not in time.
  pid_t find(const std::string& role, int rank, double limit_s) const;

 private:
  TemporaryFolder folder_;
  std::string marker_;
  pid_t pid_ = -1;
  std::optional<int> exit_;
  std::chrono::steady_clock::time_point started_;
};

}  // namespace cohaul::tests
