#include "cohaul/cli/child.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>

#include "cohaul/base/limits.h"
#include "cohaul/job/process.h"
#include "cohaul/job/signals.h"

namespace cohaul::cli {
namespace {

constexpr Duration kInterruptGrace = 5 * kSecond;  // time for the program to end by itself

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
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
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

/// Reads what has come, up to a megabyte in all, and closes the pipe at its end.
void drain(Pipe& pipe, std::string& into) {
  for (int chunks = 0; pipe.read >= 0 && chunks < 256; ++chunks) {
    char chunk[4096];
    const ssize_t n = ::read(pipe.read, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;
    if (n == 0) pipe.close_read();
    if (into.size() < kCapturedBytesMax) into.append(chunk, static_cast<std::size_t>(n));
  }
}

/// Reads both pipes until the program has ended. If it is interrupted or out of time, it is asked to end, then killed.
job::ProcessExit follow(pid_t pid, Pipe& out, Pipe& err, ChildResult& result, Time deadline) {
  job::Signals signals;
  for (;;) {
    const auto exit = job::reap(pid);
    // Checked after the program's end, because the signal may have ended it.
    if (const int signal = signals.drain()) {
      deadline = std::min(deadline, steady_clock().now() + (result.interrupted == 0 ? kInterruptGrace : 0));
      result.interrupted = signal;
      if (!exit) job::terminate_group(pid);
    }
    drain(out, result.out);
    drain(err, result.err);
    if (exit) return *exit;
    const Duration left = deadline - steady_clock().now();
    if (left <= 0) {
      result.timed_out = result.interrupted == 0;
      job::kill_group(pid);
    }
    std::array<pollfd, 3> ends{{{out.read, POLLIN, 0}, {err.read, POLLIN, 0}, {signals.fd(), POLLIN, 0}}};
    ::poll(ends.data(), ends.size(), static_cast<int>(std::clamp<Duration>(left / kMillisecond, 10, 1000)));
  }
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
  job::SpawnOptions spawning{.command = argv};
  if (options.capture_out) spawning.stdout_fd = out.write;
  if (options.capture_err) spawning.stderr_fd = err.write;
  COHAUL_ASSIGN(const pid_t pid, job::spawn(spawning));
  out.close_write();
  err.close_write();
  ChildResult result;
  const job::ProcessExit exit =
      follow(pid, out, err, result, options.timeout > 0 ? steady_clock().now() + options.timeout : kForever);
  result.exit = result.interrupted != 0 ? 128 + result.interrupted : exit.by_signal ? 128 + exit.code : exit.code;
  return result;
}

}  // namespace cohaul::cli
