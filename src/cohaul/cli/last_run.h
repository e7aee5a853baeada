#pragma once
// What the last failed run has left.

#include <string>
#include <vector>

namespace cohaul::cli {

struct LastLog {
  std::string path;
  std::vector<std::string> last_lines;
};

struct LastRun {
  std::string folder;           // empty: there is none
  std::vector<LastLog> logs{};  // those that hold anything, by name
};

/// Looks below a folder of temporary files for the newest folder of logs that this user's runs have left: a run removes its own where it went well.
/// Returns at most `logs` logs, those written last, with at most `lines` lines of each.
LastRun last_failed_run(const std::string& temporary_files, std::size_t logs = 4, std::size_t lines = 5);

}  // namespace cohaul::cli
