// Starts a long-lived job: programs_launcher WORKERS SERVERS TRANSPORT SOCKET FOLDER. It lives as long as the job.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "cohaul/job/launcher.h"

int main(int argc, char** argv) {
  using namespace cohaul;
  if (argc != 6) return 64;
  job::LaunchOptions o;
  o.workers = std::atoi(argv[1]);
  o.servers = std::atoi(argv[2]);
  o.transport = std::string(argv[3]) == "tcp" ? transport::Form::tcp : transport::Form::auto_;
  o.worker_command = {COHAUL_BIN "/programs_worker", argv[4], argv[5]};
  o.server_command = {COHAUL_BIN "/cohaul-server"};
  o.logs = argv[5];
  // Below the driver's deadline, so that the job itself reports which process stands still.
  o.step_timeout_s = 40;
  o.join_timeout_s = 60;
  const auto outcome = job::launch(o);
  if (!outcome.ok()) {
    std::fprintf(stderr, "%s\n", outcome.status().message().c_str());
    return 1;
  }
  if (!outcome->message.empty()) std::fprintf(stderr, "%s\n", outcome->message.c_str());
  return outcome->exit_code;
}
