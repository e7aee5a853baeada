#include "cohaul/job/launch_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "cohaul/base/write_all.h"

namespace cohaul::job {
namespace {

namespace fs = std::filesystem;

/// Passes text on. An error is ignored, since the run goes on without a reader.
void pass_on(int fd, std::string_view text) { (void)write_all(fd, as_bytes(text)); }

}  // namespace

Result<std::string> make_log_folder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return invalid("job.logs: cannot make the folder '" + folder + "': " + error.message());
  return fs::absolute(folder).string();
}

Result<Log> open_log(const std::string& folder, MemberKey who) {
  const char* const kind = who.role == transport::Role::server ? "/server_" : "/worker_";
  Log log{.path = folder + kind + std::to_string(who.rank) + ".log"};
  log.fd = ::open(log.path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
  if (log.fd < 0) return invalid("job.logs: cannot write '" + log.path + "': " + std::strerror(errno));
  return log;
}

LaunchLog::~LaunchLog() {
  temporary_.keep();  // unless it was removed: a failure's message names it
  started();
  if (pipe_ >= 0) ::close(pipe_);
  if (first_log_ >= 0) ::close(first_log_);
}

Status LaunchLog::open(const std::string& folder, int first_stdout, int first_stderr) {
  first_stdout_ = first_stdout;
  first_stderr_ = first_stderr;
  if (folder.empty()) {
    auto made = TemporaryFolder::make("cohaul");
    if (!made.ok()) return made.status().context("logs: set job.logs to a folder");
    temporary_ = std::move(*made);
    folder_ = temporary_.path();
    return {};
  }
  COHAUL_ASSIGN(folder_, make_log_folder(folder));
  return {};
}

Status LaunchLog::prepare(MemberKey who, int& stdout_fd, int& stderr_fd, std::string& path) {
  COHAUL_ASSIGN(const Log opened, open_log(folder_, who));
  const int log = opened.fd;
  path = opened.path;
  stdout_fd = stderr_fd = log;
  if (who != MemberKey{transport::Role::worker, 0}) {
    open_.push_back(log);
    return {};
  }
  first_log_ = log;
  stdout_fd = first_stdout_;
  stderr_fd = first_stderr_;
  if (::isatty(first_stderr_)) {  // it draws a progress line only where it sees the terminal itself
    constexpr std::string_view kNote = "(the first worker wrote to the terminal)\n";
    pass_on(log, kNote);
    return {};
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("pipe", errno);
  pipe_ = ends[0];
  ::fcntl(pipe_, F_SETFL, O_NONBLOCK);
  open_.push_back(ends[1]);
  stderr_fd = ends[1];
  return {};
}

void LaunchLog::started() {
  for (int fd : open_) ::close(fd);
  open_.clear();
}

void LaunchLog::pump() {
  char buffer[4096];
  while (pipe_ >= 0) {
    ssize_t n = ::read(pipe_, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      ::close(pipe_);
      pipe_ = -1;
      return;
    }
    for (const int fd : {first_stderr_, first_log_}) pass_on(fd, {buffer, static_cast<std::size_t>(n)});
  }
}

void LaunchLog::remove_temporary() { temporary_ = {}; }

}  // namespace cohaul::job
