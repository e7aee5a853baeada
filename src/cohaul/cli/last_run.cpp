#include "cohaul/cli/last_run.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "cohaul/job/process.h"

namespace cohaul::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFolder = "cohaul-";

struct Written {
  fs::path path;
  fs::file_time_type time;
};

/// The logs of processes in a folder, not empty, the newest first.
std::vector<Written> logs_in(const fs::path& folder) {
  std::vector<Written> logs;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    const bool is_log = (name.starts_with("worker_") || name.starts_with("server_")) && name.ends_with(".log");
    if (is_log && entry.file_size(error) > 0 && !error) logs.push_back({entry.path(), entry.last_write_time(error)});
  }
  std::ranges::sort(logs, std::ranges::greater{}, &Written::time);
  return logs;
}

bool is_ours(const fs::path& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == ::getuid();
}

}  // namespace

LastRun last_failed_run(const std::string& temporary_files, std::size_t logs, std::size_t lines) {
  std::error_code error;
  fs::path newest;
  std::vector<Written> of_newest;
  for (const auto& entry : fs::directory_iterator(temporary_files, error)) {
    if (!entry.path().filename().string().starts_with(kFolder) || !is_ours(entry.path())) continue;
    std::vector<Written> found = logs_in(entry.path());
    if (found.empty() || (!of_newest.empty() && found.front().time <= of_newest.front().time)) continue;
    newest = entry.path();
    of_newest = std::move(found);
  }
  if (of_newest.size() > logs) of_newest.resize(logs);
  std::ranges::sort(of_newest, {}, &Written::path);
  LastRun out{newest.string()};
  for (const Written& log : of_newest)
    out.logs.push_back({log.path.string(), job::last_lines(log.path.string(), lines)});
  return out;
}

}  // namespace cohaul::cli
