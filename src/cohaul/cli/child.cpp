#include "cohaul/cli/child.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>

extern char** environ;

namespace cohaul::cli {
namespace {

constexpr std::size_t kCapturedBytesMax = 1 << 20;

struct Pipe {
  int read = -1, write = -1;
  Pipe() = default;
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close_write();
    close_read();
  }
  Status open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return system_error("open a pipe", errno);
    read = ends[0];
    write = ends[1];
    return {};
  }
  void close_read() { close_one(read); }
  void close_write() { close_one(write); }

 private:
  static void close_one(int& fd) {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
};

/// Reads what has come; false at the end.
bool drain(int fd, std::string& into) {
  char chunk[4096];
  const ssize_t n = ::read(fd, chunk, sizeof chunk);
  if (n < 0) return errno == EINTR || errno == EAGAIN;
  if (into.size() < kCapturedBytesMax) into.append(chunk, static_cast<std::size_t>(n));
  return n > 0;
}

Result<pid_t> spawn(const std::vector<std::string>& argv, const Pipe& out, const Pipe& err) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (out.write >= 0) posix_spawn_file_actions_adddup2(&actions, out.write, STDOUT_FILENO);
  if (err.write >= 0) posix_spawn_file_actions_adddup2(&actions, err.write, STDERR_FILENO);
  std::vector<char*> args;
  for (const std::string& a : argv) args.push_back(const_cast<char*>(a.c_str()));
  args.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, args[0], &actions, nullptr, args.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return invalid(argv[0] + ": cannot be started: " + std::strerror(error));
  return pid;
}

/// Follows the captured ends until both are closed or the deadline has passed (false).
bool follow(Pipe& out, Pipe& err, ChildResult& result, Time deadline) {
  while (out.read >= 0 || err.read >= 0) {
    const Duration left = deadline - steady_clock().now();
    if (left <= 0) return false;
    std::array<pollfd, 2> ends{{{out.read, POLLIN, 0}, {err.read, POLLIN, 0}}};
    const int wait_ms = deadline == kForever ? -1 : static_cast<int>(left / kMillisecond) + 1;
    if (::poll(ends.data(), ends.size(), wait_ms) < 0) continue;
    if (ends[0].revents && !drain(out.read, result.out)) out.close_read();
    if (ends[1].revents && !drain(err.read, result.err)) err.close_read();
  }
  return true;
}

}  // namespace

Result<std::string> own_folder() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return internal("read /proc/self/exe: " + error.message());
  return self.parent_path().string();
}

Status check_executable(const std::string& what, const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status))
    return invalid(what + " " + path + ": no such file; give the path of the built program");
  if (!std::filesystem::is_regular_file(status))
    return invalid(what + " " + path + ": not a file; give the path of the built program");
  if (::access(path.c_str(), X_OK) != 0)
    return invalid(what + " " + path + ": cannot be executed; chmod +x it, or give another program");
  return {};
}

Result<ChildResult> run_child(const std::vector<std::string>& argv, const ChildOptions& options) {
  Pipe out, err;
  if (options.capture_out) COHAUL_TRY(out.open());
  if (options.capture_err) COHAUL_TRY(err.open());
  COHAUL_ASSIGN(const pid_t pid, spawn(argv, out, err));
  out.close_write();
  err.close_write();
  ChildResult result;
  const Time deadline = options.timeout > 0 ? steady_clock().now() + options.timeout : kForever;
  if (!follow(out, err, result, deadline)) {
    result.timed_out = true;
    ::kill(pid, SIGKILL);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return system_error("wait for " + argv[0], errno);
  result.exit = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return result;
}

}  // namespace cohaul::cli
