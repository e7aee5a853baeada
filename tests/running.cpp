#include "running.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

namespace cohaul::tests {
namespace {

namespace fs = std::filesystem;
// Not COHAUL_…, because the launcher removes these from its processes' environment.
constexpr const char* kMarker = "COHAULS_TEST_RUN=";

bool is_zombie(const fs::path& process) {
  const std::string stat = read_file(process / "stat");
  const std::size_t end = stat.rfind(')');
  return end == std::string::npos || end + 2 >= stat.size() || stat[end + 2] == 'Z' || stat[end + 2] == 'X';
}

}  // namespace

TemporaryFolder fresh_folder() { return std::move(TemporaryFolder::make("cohaul-test")).value(); }

std::string with_folder(std::string text, const std::string& folder) {
  for (std::size_t at; (at = text.find("{}")) != std::string::npos;) text.replace(at, 2, folder);
  return text;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<nlohmann::json> json_lines(const std::string& text) {
  std::vector<nlohmann::json> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    out.push_back(nlohmann::json::parse(line, nullptr, false));
    EXPECT_FALSE(out.back().is_discarded()) << "no JSON: " << line;
  }
  return out;
}

bool eventually(double limit_s, const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(limit_s);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
  return true;
}

Running::Running(const std::string& program, Arguments arguments, TemporaryFolder folder)
    : folder_(std::move(folder)), marker_(kMarker + folder_.path()), started_(std::chrono::steady_clock::now()) {
  arguments.insert(arguments.begin(), program);
  std::vector<char*> argv, envp;
  for (std::string& a : arguments) argv.push_back((a = with_folder(a, folder_.path())).data());
  argv.push_back(nullptr);
  for (char** e = environ; *e != nullptr; ++e) envp.push_back(*e);
  envp.push_back(marker_.data());
  envp.push_back(nullptr);
  const int in = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  auto opened = [&](const char* name) {
    return ::open(folder_.file(name).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  };
  const int out = opened("out"), err = opened("err");
  pid_ = ::fork();
  if (pid_ == 0) {
    ::setpgid(0, 0);
    ::dup2(in, 0), ::dup2(out, 1), ::dup2(err, 2);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(126);
  }
  ::setpgid(pid_, pid_);  // parent and child both call it, since either may be first
  for (int fd : {in, out, err}) ::close(fd);
}

Running::~Running() {
  if (!exit_ && pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  for (const Found& f : descendants()) ::kill(f.pid, SIGKILL);
}

double Running::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
}

std::optional<int> Running::wait(double limit_s) {
  eventually(limit_s, [&] {
    int status = 0;
    if (!exit_ && ::waitpid(pid_, &status, WNOHANG) == pid_)
      exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return exit_.has_value();
  });
  return exit_;
}

std::vector<Found> Running::descendants() const {
  std::vector<Found> out;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    Found found;
    if (std::from_chars(name.data(), name.data() + name.size(), found.pid).ec != std::errc{} || found.pid == pid_)
      continue;
    std::istringstream variables(read_file(entry.path() / "environ"));
    bool ours = false;
    for (std::string v; std::getline(variables, v, '\0');) {
      ours |= v == marker_;
      if (v.starts_with("COHAUL_ROLE=")) found.role = v.substr(12);
      if (v.starts_with("COHAUL_RANK=")) found.rank = std::atoi(v.c_str() + 12);
    }
    if (ours && !is_zombie(entry.path())) out.push_back(found);
  }
  return out;
}

pid_t Running::find(const std::string& role, int rank, double limit_s) const {
  pid_t pid = 0;
  eventually(limit_s, [&] {
    for (const Found& f : descendants())
      if (f.role == role && f.rank == rank) pid = f.pid;
    return pid != 0;
  });
  return pid;
}

}  // namespace cohaul::tests
