// cohaul-server: one parameter server. Everything that it must know comes from the environment (who it is, where the job meets) and from the
// workers (what to keep). Ends when all workers have said goodbye.

#include <cstdio>
#include <string>

#include "cohaul/base/exit_code.h"
#include "cohaul/job/job.h"
#include "cohaul/ps/service.h"

namespace {

cohaul::Status serve() {
  COHAUL_ASSIGN(cohaul::job::JoinOptions options, cohaul::job::from_environment());
  if (options.role != cohaul::transport::Role::server) {
    return cohaul::invalid(
        "cohaul-server is started by Cohaul's launcher (cohaul train, cohaul launch --servers K), not by hand");
  }
  COHAUL_ASSIGN(auto job, cohaul::job::Job::join(options));
  cohaul::Status served;
  {
    auto service = cohaul::ps::Service::listen(*job, cohaul::ServerRank(options.rank));
    served = service.ok() ? (*service)->run() : service.status();
  }
  if (!served.ok()) {
    job->report_failure(served);
    return served.context("server " + std::to_string(options.rank));
  }
  return job->close();
}

}  // namespace

int main() {
  cohaul::Status status = serve();
  if (!status.ok()) std::fprintf(stderr, "cohaul-server: %s\n", status.message().c_str());
  return cohaul::exit_code(status.code());
}
