#include "cohaul/cli/launch_command.h"

#include <iostream>

#include "cohaul/base/exit_code.h"
#include "cohaul/base/failing_writes.h"
#include "cohaul/cli/child.h"
#include "cohaul/cli/launching.h"
#include "cohaul/job/engines/place.h"
#include "cohaul/job/error_file.h"
#include "cohaul/job/job.h"
#include "cohaul/job/task.h"

namespace cohaul::cli {
namespace {

Status check(const job::LaunchOptions& options) {
  if (!options.hosts.empty()) return {};  // the programs are on the hosts
  const std::string& program = options.worker_command.front();
  if (program.find('/') != std::string::npos)
    COHAUL_TRY(check_executable("program", program));  // otherwise it is searched in the PATH
  if (options.servers > 0) COHAUL_TRY(check_executable("the server", options.server_command.front()));
  return {};
}

/// Under an engine whose tasks are the job's processes, turns this process into its worker or server. Returns if the processes have to be launched,
/// or with an error.
Status start_here(const LaunchArguments& arguments, const job::LaunchOptions& options) {
  COHAUL_ASSIGN(const std::optional<job::Place> place, job::place_from_environment());
  if (arguments.on.given()) {
    if (place) COHAUL_TRY(refuse_hosts(*place));
    return {};
  }
  if (place && place->tasks > 1) {
    COHAUL_TRY(job::expect_workers(*place, arguments.workers, options.servers));
    return job::become_member(options, *place);
  }
  if (arguments.workers) return {};
  if (place && !place->mistake.ok()) return place->mistake;
  return invalid("--workers is required where no engine (mpirun, srun, torchrun) has started several tasks");
}

}  // namespace

int run_launch(const LaunchArguments& arguments) {
  const FailingWrites failing;
  const auto folder = own_folder();
  Status status = folder.status();
  if (status.ok()) {
    job::LaunchOptions options;
    options.worker_command = arguments.command;
    options.server_command = {*folder + "/cohaul-server"};
    options.workers = arguments.workers.value_or(0);
    options.servers = arguments.servers;
    options.pin = arguments.pin;
    options.logs = arguments.logs;
    options.must_join = false;
    options.peer_timeout_s = arguments.peer_timeout_s;
    options.step_timeout_s = arguments.step_timeout_s;
    options.join_timeout_s = arguments.join_timeout_s;
    if (arguments.on.given()) status = set_hosts(arguments.on, arguments.workers, options);
    if (status.ok()) status = check(options);
    if (status.ok()) status = start_here(arguments, options);
    if (status.ok()) {
      const auto failed = launch_and_wait(std::move(options));
      if (!failed) return kDone;
      std::cerr << "cohaul: " << failed->message << std::endl;
      return failed->exit;
    }
  }
  std::cerr << "cohaul: " << status.message() << "\n";
  job::tell_torchrun(status);
  return exit_code(status.code());
}

}  // namespace cohaul::cli
