#include "cohaul/job/task.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "cohaul/job/host_port.h"
#include "cohaul/job/launch_log.h"
#include "cohaul/job/variables.h"

namespace cohaul::job {
namespace {

/// Lets stdout and stderr go into the member's log.
Status redirect(const std::string& folder, const MemberKey& who) {
  COHAUL_ASSIGN(const std::string path, make_log_folder(folder));
  COHAUL_ASSIGN(const Log log, open_log(path, who));
  ::dup2(log.fd, 1);
  ::dup2(log.fd, 2);
  ::close(log.fd);
  ::setenv(variables::kLog, log.path.c_str(), 1);
  return {};
}

}  // namespace

Status expect_workers(const Place& place, std::optional<std::int64_t> workers, int servers) {
  if (!workers || *workers == place.tasks - servers) return {};
  return invalid("--workers " + std::to_string(*workers) +
                 (servers > 0 ? ", and " + std::to_string(servers) + " servers" : "") + ": " + place.engine +
                 " has started " + std::to_string(place.tasks) +
                 " tasks, which are the job's processes: leave --workers out");
}

Status become_member(const LaunchOptions& options, const Place& place) {
  COHAUL_ASSIGN(const MemberKey who, member_of(place, options.servers));
  for (const auto& [name, value] : settings_of(options)) ::setenv(name.c_str(), value.c_str(), 1);
  ::setenv(variables::kServers, std::to_string(options.servers).c_str(), 1);
  if (options.address != kThisHost) {
    COHAUL_ASSIGN(const HostPort at, parse_host_port(options.address).context("job.address"));
    COHAUL_ASSIGN(const std::vector<std::string> listen, own_addresses(at.host).context("job.address"));
    ::setenv(variables::kListen, comma_list(listen).c_str(), 1);
    if (at.port != 0) ::setenv(variables::kPort, std::to_string(at.port).c_str(), 1);
  }
  if (!options.logs.empty() && who != MemberKey{transport::Role::worker, 0}) COHAUL_TRY(redirect(options.logs, who));

  std::vector<std::string> command =
      who.role == transport::Role::server ? options.server_command : options.worker_command;
  if (command.empty()) return invalid("no program to become");
  std::vector<char*> arguments;
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  return invalid("cannot run '" + command.front() + "': " + std::strerror(errno));
}

}  // namespace cohaul::job
