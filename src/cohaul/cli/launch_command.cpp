#include "cohaul/cli/launch_command.h"

#include <iostream>

#include "cohaul/base/exit_code.h"
#include "cohaul/cli/child.h"
#include "cohaul/cli/launching.h"

namespace cohaul::cli {
namespace {

Status check(const Launching& launching) {
  const std::string& program = launching.worker.front();
  if (program.find('/') != std::string::npos)
    COHAUL_TRY(check_executable("program", program));  // else it is looked for in the PATH
  if (launching.servers > 0) COHAUL_TRY(check_executable("the server", launching.server.front()));
  return {};
}

}  // namespace

int run_launch(const LaunchArguments& arguments) {
  const auto folder = own_folder();
  Status status = folder.status();
  if (status.ok()) {
    const Launching launching{.worker = arguments.command,
                              .server = {*folder + "/cohaul-server"},
                              .workers = arguments.workers,
                              .servers = arguments.servers,
                              .logs = arguments.logs,
                              .must_join = false};
    status = check(launching);
    if (status.ok()) {
      const auto failed = launch_and_wait(launching);
      if (!failed) return kDone;
      std::cerr << "cohaul: " << failed->message << std::endl;
      return failed->exit;
    }
  }
  std::cerr << "cohaul: " << status.message() << "\n";
  return exit_code(status.code());
}

}  // namespace cohaul::cli
