#include "cohaul/job/task.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "cohaul/job/host_port.h"
#include "cohaul/job/launch_log.h"
#include "cohaul/job/variables.h"

namespace cohaul::job {
namespace {

/// stdout and stderr go into the member's log.
Status redirect(const std::string& folder, const MemberKey& who) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  const std::string path = std::filesystem::absolute(folder, error) / log_name(who);
  const int log = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) return invalid("job.logs: cannot write '" + path + "': " + std::strerror(errno));
  ::dup2(log, 1);
  ::dup2(log, 2);
  ::close(log);
  ::setenv(variables::kLog, path.c_str(), 1);
  return {};
}

}  // namespace

Status become_member(const LaunchOptions& options, const Place& place) {
  const int workers = place.tasks - options.servers;
  if (workers < 1) return too_few_tasks(place, options.servers);
  const bool serves = place.task >= workers;
  const MemberKey who{serves ? transport::Role::server : transport::Role::worker,
                      serves ? place.task - workers : place.task};
  for (const auto& [name, value] : settings_of(options)) ::setenv(name.c_str(), value.c_str(), 1);
  ::setenv(variables::kServers, std::to_string(options.servers).c_str(), 1);
  if (options.address != kThisHost) {
    COHAUL_ASSIGN(const HostPort at, parse_host_port(options.address).context("job.address"));
    COHAUL_ASSIGN(const std::string listen, resolve(at.host).context("job.address"));
    ::setenv(variables::kListen, listen.c_str(), 1);
  }
  if (!options.logs.empty() && (serves || who.rank > 0)) COHAUL_TRY(redirect(options.logs, who));

  std::vector<std::string> command = serves ? options.server_command : options.worker_command;
  if (command.empty()) return invalid("no program to become");
  std::vector<char*> arguments;
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  return invalid("cannot run '" + command.front() + "': " + std::strerror(errno));
}

}  // namespace cohaul::job
