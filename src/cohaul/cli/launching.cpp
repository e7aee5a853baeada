#include "cohaul/cli/launching.h"

#include <iostream>

#include "cohaul/base/exit_code.h"
#include "cohaul/job/launcher.h"

namespace cohaul::cli {
namespace {

transport::Form form(const std::string& transport) {
  if (transport == "arena") return transport::Form::arena;
  if (transport == "tcp") return transport::Form::tcp;
  return transport::Form::auto_;
}

job::LaunchOptions options(const Launching& launching) {
  job::LaunchOptions out;
  out.worker_command = launching.worker;
  out.server_command = launching.server;
  out.workers = launching.workers;
  out.servers = launching.servers;
  out.address = launching.address;
  out.transport = form(launching.transport);
  out.peer_timeout_s = launching.peer_timeout_s;
  out.step_timeout_s = launching.step_timeout_s;
  out.join_timeout_s = launching.join_timeout_s;
  out.stop_grace_s = launching.stop_grace_s;
  out.warn = [](const std::string& what) { std::cerr << "cohaul: " << what << std::endl; };
  out.must_join = launching.must_join;
  out.logs = launching.logs;
  return out;
}

}  // namespace

Outcome launch_and_wait(const Launching& launching, bool* stopped) {
  const auto outcome = job::launch(options(launching));
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
