#include "cohaul/cli/launching.h"

#include <iostream>

#include "cohaul/base/exit_code.h"

namespace cohaul::cli {
Outcome launch_and_wait(job::LaunchOptions options, bool* stopped) {
  options.warn = [](const std::string& what) { std::cerr << "cohaul: " << what << std::endl; };
  const auto outcome = job::launch(options);
  if (!outcome.ok()) return outcome_of(outcome.status(), "launch");
  if (outcome->exit_code == kDone) return std::nullopt;
  if (stopped) *stopped = outcome->stopped;
  Failure error;
  error.exit = outcome->exit_code;
  error.role = transport::name(outcome->role);
  if (outcome->role != transport::Role::launcher) error.rank = outcome->rank;
  error.operation = outcome->operation;
  error.message = outcome->message;
  return error;
}

}  // namespace cohaul::cli
