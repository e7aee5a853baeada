#include "jobs.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>

#include "messages.h"

namespace cohaul::programs {
namespace {

constexpr double kStartLimit_s = 90, kStopLimit_s = 8;

std::string read_end(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  std::string out = text.str();
  constexpr std::size_t kMost = 4'000;
  if (out.size() > kMost) out = "…" + out.substr(out.size() - kMost);
  return out;
}

bool eventually(double limit_s, const auto& condition) {
  for (const double end = now_s() + limit_s; !condition();) {
    if (now_s() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

std::string request(const Setting& setting, const Program& program) {
  // With threads of the workers as servers, any number of servers is possible.
  const int servers = setting.servers > 0 ? setting.servers : 1 + static_cast<int>(program.seed % 3);
  return nlohmann::json{{"strategy", setting.strategy}, {"servers", servers}, {"program", to_json(program)}}.dump();
}

}  // namespace

std::string Setting::name() const {
  std::string out = strategy + ", " + std::to_string(workers) + (workers == 1 ? " worker" : " workers");
  if (servers > 0) out += ", " + std::to_string(servers) + (servers == 1 ? " server" : " servers");
  if (strategy == "sync" && servers == 0) out += ", servers as threads";
  return out + (tcp ? ", tcp" : "");
}

std::vector<Setting> all_settings() {
  std::vector<Setting> out = {{"single", 1, 0, false}};
  for (const bool tcp : {false, true})
    for (int workers = 1; workers <= 5; ++workers) {
      out.push_back({"all_reduce", workers, 0, tcp});
      out.push_back({"sync", workers, 0, tcp});
      out.push_back({"sync", workers, 1 + workers % 3, tcp});
    }
  return out;
}

std::vector<Setting> few_settings() {
  return {{"single", 1, 0, false}, {"all_reduce", 2, 0, false}, {"all_reduce", 5, 0, false}, {"all_reduce", 3, 0, true},
          {"sync", 1, 2, false},   {"sync", 3, 2, false},       {"sync", 4, 0, false},       {"sync", 2, 1, true}};
}

Status LongJob::start() {
  auto folder = TemporaryFolder::make("cohaul-programs");
  if (!folder.ok()) return folder.status();
  folder_ = std::make_unique<TemporaryFolder>(std::move(*folder));
  const std::string socket = folder_->file("socket");
  COHAUL_ASSIGN(const int listener, listen_at(socket));
  std::vector<std::string> words = {COHAUL_BIN "/programs_launcher",
                                    std::to_string(setting_.workers),
                                    std::to_string(setting_.servers),
                                    setting_.tcp ? "tcp" : "auto",
                                    socket,
                                    folder_->path()};
  std::vector<char*> arguments;
  for (std::string& w : words) arguments.push_back(w.data());
  arguments.push_back(nullptr);
  const int in = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int out = ::open(folder_->file("said").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  launcher_ = ::fork();
  if (launcher_ == 0) {
    ::setpgid(0, 0);
    ::dup2(in, 0), ::dup2(out, 1), ::dup2(out, 2);
    ::execv(arguments[0], arguments.data());
    ::_exit(126);
  }
  ::close(in), ::close(out);
  const Status met = launcher_ < 0 ? system_error("fork", errno) : meet_workers(listener);
  ::close(listener);
  return met;
}

/// Accepts a connection from each worker, which sends its rank.
Status LongJob::meet_workers(int listener) {
  sockets_.assign(static_cast<std::size_t>(setting_.workers), -1);
  const double end_s = now_s() + kStartLimit_s;
  ::fcntl(listener, F_SETFL, O_NONBLOCK);
  for (int met = 0; met < setting_.workers;) {
    const int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (socket < 0) {
      if (now_s() > end_s || !launcher_lives()) return peer_lost("the job did not start. " + last_words());
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      continue;
    }
    const auto hello = receive_message(socket, end_s);
    std::int32_t rank = -1;
    if (hello.ok() && hello->size() == sizeof rank) std::memcpy(&rank, hello->data(), sizeof rank);
    if (rank < 0 || rank >= setting_.workers) {
      ::close(socket);
      return internal("a worker that says no rank");
    }
    sockets_[static_cast<std::size_t>(rank)] = socket;
    ++met;
  }
  return {};
}

Result<std::vector<Outcome>> LongJob::run(const Program& program, double limit_s) {
  if (launcher_ < 0) {
    const Status started = start();
    if (!started.ok()) {
      stop(true);
      return started;
    }
  }
  auto outcomes = ask(program, limit_s);
  const bool fine = outcomes.ok() && std::ranges::all_of(*outcomes, [](const Outcome& o) { return o.status.ok(); });
  if (!fine) stop(true);
  return outcomes;
}

Result<std::vector<Outcome>> LongJob::ask(const Program& program, double limit_s) {
  const std::string text = request(setting_, program);
  const double end_s = now_s() + limit_s;
  for (int socket : sockets_)
    if (const Status sent = send_message(socket, as_bytes(std::string_view(text))); !sent.ok())
      return peer_lost("a worker is gone. " + last_words());
  std::vector<Outcome> out;
  for (std::size_t r = 0; r < sockets_.size(); ++r) {
    const auto answer = receive_message(sockets_[r], end_s);
    if (!answer.ok()) {
      // A job that fails reports the reason within seconds.
      eventually(answer.status().code() == Code::unavailable ? kStopLimit_s : 0.1, [&] { return !launcher_lives(); });
      return peer_lost("worker " + std::to_string(r) + ": " + answer.status().message() + ". " + last_words());
    }
    COHAUL_ASSIGN(Outcome outcome, Outcome::decode(*answer));
    out.push_back(std::move(outcome));
  }
  return out;
}

bool LongJob::launcher_lives() {
  siginfo_t info{};
  return ::waitid(P_PID, static_cast<id_t>(launcher_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

std::string LongJob::last_words() const { return "The job said: " + read_end(folder_->file("said")); }

void LongJob::stop(bool at_once) {
  for (int socket : sockets_)
    if (socket >= 0) ::close(socket);  // the workers then say goodbye
  sockets_.clear();
  if (launcher_ > 0) {
    auto gone = [&] { return ::waitpid(launcher_, nullptr, WNOHANG) != 0; };
    if (!eventually(at_once ? 0 : kStopLimit_s, gone)) {
      ::kill(launcher_, SIGTERM);
      if (!eventually(kStopLimit_s, gone)) {
        ::kill(launcher_, SIGKILL);  // its children end with it
        ::waitpid(launcher_, nullptr, 0);
      }
    }
  }
  launcher_ = -1;
  folder_.reset();
}

}  // namespace cohaul::programs
