#pragma once
// Runs the built `cohaul` as a process, with all processes that it starts.

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

/// Returns a new empty folder, which is removed with its owner.
TemporaryFolder fresh_folder();
/// Returns the text with every "{}" replaced by the folder.
std::string with_folder(std::string text, const std::string& folder);
/// Returns the whole file; empty if there is none.
std::string read_file(const std::string& path);
/// Returns the JSON lines of a text; a line that is not JSON fails the test.
std::vector<nlohmann::json> json_lines(const std::string& text);

/// Checks the condition every few milliseconds. Returns false if it does not hold within limit_s.
bool eventually(double limit_s, const std::function<bool()>& condition);

struct Found {
  pid_t pid = 0;
  std::string role;  // role of a process that the launcher started: "worker", "server"; else empty
  int rank = -1;
};

/// A program in a process group of its own, with stdout and stderr in the files `out` and `err` of its folder. Its descendants are recognized by a
/// variable in their environment. The destructor kills what still runs, and removes the folder.
class Running {
 public:
  /// Starts `cohaul` with these arguments, in which "{}" stands for the folder.
  explicit Running(Arguments arguments, TemporaryFolder folder = fresh_folder())
      : Running(COHAUL_BIN "/cohaul", std::move(arguments), std::move(folder)) {}
  /// Starts another program.
  Running(const std::string& program, Arguments arguments, TemporaryFolder folder = fresh_folder());
  ~Running();
  Running(const Running&) = delete;

  pid_t pid() const { return pid_; }
  const std::string& folder() const { return folder_.path(); }
  std::string out() const { return read_file(folder_.file("out")); }
  std::string err() const { return read_file(folder_.file("err")); }
  double seconds() const;  // since the start

  /// Returns the exit code, 128 + signal if it was killed; nothing if it still runs after limit_s.
  std::optional<int> wait(double limit_s);
  /// Returns the living processes that it has started, directly or not (zombies excluded).
  std::vector<Found> descendants() const;
  /// Waits until there is this worker or server, and returns it; 0: not in time.
  pid_t find(const std::string& role, int rank, double limit_s) const;

 private:
  TemporaryFolder folder_;
  std::string marker_;
  pid_t pid_ = -1;
  std::optional<int> exit_;
  std::chrono::steady_clock::time_point started_;
};

}  // namespace cohaul::tests
