#include "cohaul/job/process.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

extern "C" {  // the C library's own header says so only from 2.37 on
#include <sys/pidfd.h>
}

#include "cohaul/job/variables.h"
#include "cohaul/transport/descriptor.h"

extern char** environ;

namespace cohaul::job {
namespace {

/// Returns this process's environment with some variables replaced, as "NAME=value".
std::vector<std::string> environment_with(const std::vector<std::pair<std::string, std::string>>& added) {
  std::vector<std::string> out;
  for (char** e = environ; *e != nullptr; ++e) {
    std::string_view entry(*e);
    std::string_view name = entry.substr(0, entry.find('='));
    // A job inside a job must not take the outer one's place for its own.
    if (name.starts_with(variables::kPrefix)) continue;
    if (std::any_of(added.begin(), added.end(), [&](const auto& a) { return a.first == name; })) continue;
    out.emplace_back(entry);
  }
  for (const auto& [name, value] : added) out.push_back(name + "=" + value);
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

/// Runs in the child, on the parent's memory: system calls only. Returns an errno value.
int become(char* const* arguments, char* const* environment, int stdin_fd, int stdout_fd, int stderr_fd,
           const cpu_set_t* cpus, pid_t parent) {
  sigset_t none;
  sigemptyset(&none);
  if (::setpgid(0, 0) != 0 || ::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return errno;
  if (::getppid() != parent) return ECANCELED;  // it ended before the line above
  if (::dup2(stdin_fd, 0) < 0 || ::dup2(stdout_fd, 1) < 0 || ::dup2(stderr_fd, 2) < 0) return errno;
  if (cpus != nullptr)
    (void)!::sched_setaffinity(0, sizeof *cpus, cpus);  // where it is refused, the process runs on all
  if (::sigprocmask(SIG_SETMASK, &none, nullptr) != 0) return errno;
  ::execvpe(arguments[0], arguments, environment);
  return errno;
}

/// Returns the child's pid, or -1 and `error`. A pipe that closes on exec tells whether the child became the program.
/// Shared memory would do only under vfork, which sanitizers replace by fork.
pid_t start(char* const* arguments, char* const* environment, int stdin_fd, int stdout_fd, int stderr_fd,
            const cpu_set_t* cpus, int& error) {
  int told[2];
  if (::pipe2(told, O_CLOEXEC) != 0) {
    error = errno;
    return -1;
  }
  const pid_t parent = ::getpid();
  const pid_t pid = ::vfork();
  if (pid == 0) {
    int why = become(arguments, environment, stdin_fd, stdout_fd, stderr_fd, cpus, parent);
    (void)!::write(told[1], &why, sizeof why);
    ::_exit(127);
  }
  if (pid < 0) error = errno;
  ::close(told[1]);
  ssize_t n = 0;
  while (pid > 0 && (n = ::read(told[0], &error, sizeof error)) < 0 && errno == EINTR) {
  }
  ::close(told[0]);
  if (pid > 0 && error != 0) ::waitpid(pid, nullptr, 0);
  return error == 0 ? pid : -1;
}

/// Returns what /proc says of a process, from its state on ("T": stopped). Empty: there is none.
std::vector<std::string> state_of(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(in, line);
  const std::size_t end = line.rfind(')');  // the program's name may hold anything
  std::istringstream words(end == std::string::npos ? "" : line.substr(end + 1));
  return {std::istream_iterator<std::string>(words), {}};
}

}  // namespace

Result<pid_t> spawn(const SpawnOptions& options) {
  if (options.command.empty()) return invalid("no program to start");
  std::vector<std::string> command = options.command, environment = environment_with(options.environment);
  std::vector<char*> arguments = pointers(command), variables = pointers(environment);
  const int in =
      options.stdin_fd >= 0 ? ::fcntl(options.stdin_fd, F_DUPFD_CLOEXEC, 3) : ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  // Above 2, so that placing one does not overwrite the other.
  int out = ::fcntl(options.stdout_fd, F_DUPFD_CLOEXEC, 3), err = ::fcntl(options.stderr_fd, F_DUPFD_CLOEXEC, 3);
  int error = in < 0 || out < 0 || err < 0 ? errno : 0;
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  for (const int cpu : options.cpus) CPU_SET(cpu, &cpus);
  pid_t pid = -1;
  if (error == 0)
    pid = start(arguments.data(), variables.data(), in, out, err, options.cpus.empty() ? nullptr : &cpus, error);
  for (int fd : {in, out, err}) {
    if (fd >= 0) ::close(fd);
  }
  if (error == 0) return pid;
  if (error == ENOENT || error == EACCES || error == ENOEXEC || error == ENOTDIR) {
    return invalid("cannot start '" + command[0] + "': " + std::strerror(error));
  }
  return system_error("start " + command[0], error);
}

std::optional<ProcessExit> reap(pid_t child) {
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
    return std::nullopt;
  // The child is not reaped yet, so that no other process can get its group's number.
  ::kill(-child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  return ProcessExit{.by_signal = info.si_code != CLD_EXITED, .code = info.si_status};
}

bool is_stopped(pid_t child) {
  const std::vector<std::string> words = state_of(child);
  return !words.empty() && words.front() == "T";
}

std::string process_key(pid_t pid) {
  constexpr std::size_t kStarted = 19;  // the time when it was started, in ticks since the host was
  const std::vector<std::string> words = state_of(pid);
  std::error_code error;  // the same number may mean another process in another container
  const std::string space = std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/ns/pid", error);
  return error || words.size() <= kStarted ? "" : space + " " + words[kStarted];
}

bool continue_stopped(pid_t pid, const std::string& key) {
  // Opened before the look, so that no other process can get the number in between.
  const transport::Descriptor process(::pidfd_open(pid, 0));
  return process.valid() && !key.empty() && process_key(pid) == key && is_stopped(pid) &&
         ::pidfd_send_signal(process.get(), SIGCONT, nullptr, 0) == 0;
}

bool catches(pid_t child, int signal) {
  std::ifstream in("/proc/" + std::to_string(child) + "/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("SigCgt:")) return (std::strtoull(line.c_str() + 7, nullptr, 16) >> (signal - 1) & 1) != 0;
  return false;
}

void terminate_group(pid_t child) {
  ::kill(-child, SIGTERM);
  ::kill(-child, SIGCONT);
}

void kill_group(pid_t child) { ::kill(-child, SIGKILL); }

std::vector<std::string> last_lines(const std::string& path, std::size_t count) {
  constexpr std::streamoff kTailBytes = 4096;
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return {};
  std::streamoff size = in.tellg(), start = std::max<std::streamoff>(0, size - kTailBytes);
  std::string text(static_cast<std::size_t>(size - start), '\0');
  in.seekg(start);
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line(text.data() + at, end - at);
    const bool of_stack = line.starts_with("frame #") || line.starts_with("Exception raised from ");
    if (end > at && !of_stack) lines.emplace_back(line);
    at = end + 1;
  }
  if (lines.size() > count) lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(count));
  return lines;
}

std::string last_lines_indented(const std::string& path, std::size_t count) {
  std::string out;
  for (const std::string& line : last_lines(path, count)) out += (out.empty() ? "  | " : "\n  | ") + line;
  return out;
}

}  // namespace cohaul::job
