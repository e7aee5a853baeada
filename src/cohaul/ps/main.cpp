// cohaul-server: a process that runs one parameter server. It learns from the environment which server it is and where the job's rendezvous is, and
// everything else from the workers. It serves all trainers of the job, and ends when all workers have left the job.

#include <cstdio>
#include <string>
#include <thread>

#include "cohaul/base/clock.h"
#include "cohaul/base/exit_code.h"
#include "cohaul/base/failing_writes.h"
#include "cohaul/job/error_file.h"
#include "cohaul/job/job.h"
#include "cohaul/ps/service.h"

namespace {

cohaul::Status serve_until_all_have_left(cohaul::job::Job& job, cohaul::ServerRank rank) {
  auto service = cohaul::ps::Service::listen(job, rank);
  if (!service.ok()) {
    job.report_failure(service.status());
    return service.status();
  }
  std::thread farewell([&] {
    // A loss ends this wait too; the service notices it by itself.
    (void)job.get(cohaul::job::kWorkersLeftKey, cohaul::kForever).ok();
    (*service)->stop();
  });
  cohaul::Status served = (*service)->run();
  if (!served.ok()) job.report_failure(served);  // this also ends the wait of the other thread
  farewell.join();
  return served;
}

cohaul::Status serve() {
  COHAUL_ASSIGN(cohaul::job::JoinOptions options, cohaul::job::from_environment());
  if (options.role != cohaul::transport::Role::server) {
    return cohaul::invalid(
        "cohaul-server is started by Cohaul's launcher (cohaul train, cohaul launch --servers K), not by hand");
  }
  COHAUL_ASSIGN(auto job, cohaul::job::Job::join(options));
  cohaul::Status served = serve_until_all_have_left(*job, cohaul::ServerRank(options.rank));
  if (!served.ok()) return served.context("server " + std::to_string(options.rank));
  return job->close();
}

}  // namespace

int main() {
  const cohaul::FailingWrites failing;
  cohaul::Status status = serve();
  if (!status.ok()) std::fprintf(stderr, "cohaul-server: %s\n", status.message().c_str());
  cohaul::job::tell_torchrun(status);
  return cohaul::exit_code(status.code());
}
