// Tests of cohaul-server as a process, with workers as processes, under the launcher.

#include <gtest/gtest.h>

#include <algorithm>

#include "cohaul/base/clock.h"
#include "cohaul/job/launcher.h"

namespace cohaul::ps {
namespace {

// How long the launcher waits for servers after the workers have ended.
constexpr Duration kServersAreToldAfter = 2 * kSecond;

job::LaunchOutcome launch(std::vector<std::string> arguments, transport::Form form = transport::Form::auto_) {
  job::LaunchOptions options;
  options.worker_command = {COHAUL_PS_WORKER};
  options.worker_command.insert(options.worker_command.end(), arguments.begin(), arguments.end());
  options.server_command = {COHAUL_SERVER};
  options.workers = 2;
  options.servers = 2;
  options.transport = form;
  options.peer_timeout_s = 2;
  options.join_timeout_s = 20;
  options.step_timeout_s = 20;
  auto outcome = job::launch(options);
  EXPECT_TRUE(outcome.ok()) << outcome.status().message();
  if (outcome.ok()) return *outcome;
  job::LaunchOutcome none;
  none.exit_code = -1;
  return none;
}

TEST(Processes, EveryModeEndsWithTheParametersOfOneProcess) {
  for (const char* mode : {"sync", "async", "bounded"}) {
    for (transport::Form form : {transport::Form::auto_, transport::Form::tcp}) {
      job::LaunchOutcome outcome = launch({mode}, form);
      EXPECT_EQ(outcome.exit_code, 0) << mode << ": " << outcome.message;
    }
  }
}

TEST(Processes, ServersEndByThemselvesWhenAllWorkersHaveLeft) {
  // If the launcher has to end the servers, every run takes this long; a loaded machine delays only some runs.
  Duration fastest = kForever;
  for (int i = 0; i < 6 && fastest >= kServersAreToldAfter; ++i) {
    const Time begin = steady_clock().now();
    EXPECT_EQ(launch({"sync"}).exit_code, 0);
    fastest = std::min(fastest, steady_clock().now() - begin);
  }
  EXPECT_LT(fastest, kServersAreToldAfter) << "the launcher had to tell them";
}

TEST(Processes, AKilledServerIsNamed) {
  for (const char* mode : {"sync", "async"}) {
    Time begin = steady_clock().now();
    job::LaunchOutcome outcome = launch({mode, "kill-server"});
    EXPECT_EQ(outcome.exit_code, 3);
    EXPECT_EQ(outcome.role, transport::Role::server) << outcome.message;
    EXPECT_EQ(outcome.rank, 0);
    EXPECT_LT(steady_clock().now() - begin, 8 * kSecond);
  }
}

TEST(Processes, AKilledWorkerIsNamed) {
  for (const char* mode : {"sync", "bounded"}) {
    Time begin = steady_clock().now();
    job::LaunchOutcome outcome = launch({mode, "kill-self"});
    EXPECT_EQ(outcome.exit_code, 3);
    EXPECT_EQ(outcome.role, transport::Role::worker) << outcome.message;
    EXPECT_EQ(outcome.rank, 1);
    EXPECT_LT(steady_clock().now() - begin, 8 * kSecond);
  }
}

}  // namespace
}  // namespace cohaul::ps
