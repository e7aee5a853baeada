#include "cohaul/train/run.h"

#include <ATen/Parallel.h>

#include <string>

#include "cohaul/base/exit_code.h"
#include "cohaul/base/failing_writes.h"
#include "cohaul/job/error_file.h"
#include "cohaul/observe/progress.h"
#include "cohaul/parallel/split.h"
#include "cohaul/train/error.h"

namespace cohaul::train {

std::unique_ptr<job::Job> join(const job::JoinOptions& options) {
  if (options.role != transport::Role::worker)
    throw Error(
        invalid("this task is to be a server of the job (COHAUL_SERVERS), and runs a worker's program: let `cohaul "
                "launch --servers N -- PROGRAM` start the right one in each task"));
  return or_throw(job::Job::join(options));
}

std::unique_ptr<strategy::Workers> connect_workers(job::Job& job, const std::string& purpose) {
  return or_throw(strategy::Workers::connect(job, "layers of " + purpose, 0));
}

namespace {

constexpr Duration kFirstFailureKnown = kSecond;  // evidence is weighed for less

/// What worker 0 has seen of a loss may be its sign alone: a closed connection. Where no launcher says who it was, worker 0 does, once the job knows.
void name_first_failure(job::Job& job, const Status& why) {
  if (job.options().launched || job.role() != transport::Role::worker || job.rank() != 0) return;
  auto poller = transport::make_poller();
  if (!poller.ok()) return;
  job.wake_on_loss(poller->get());
  const Time until = steady_clock().now() + kFirstFailureKnown;
  while (job.health().ok() && steady_clock().now() < until && (*poller)->wait(until).ok()) {
  }
  job.forget(poller->get());
  const Status loss = job.health();
  if (!loss.ok() && why.message().find(loss.message()) == std::string::npos)
    observe::Progress(2).say("cohaul: the first failure: " + loss.message());
}

}  // namespace

int report_exception(job::Job* job, const std::function<void(int, const std::string&)>& told) {
  Status why;
  try {
    throw;
  } catch (const Stopped& s) {
    if (job && job->rank() == 0 && !job->options().launched)
      observe::Progress(2).say("cohaul: " + s.status().message());
    const Status closed = job ? job->close() : Status();
    if (closed.ok()) {
      if (told) told(s.exit_code(), std::string(s.status().message()));
      return s.exit_code();
    }
    why = closed;
  } catch (const Error& e) {
    why = e.status();
  } catch (const parallel::GroupFailed& e) {
    why = e.status();
  } catch (const std::exception& e) {
    why = internal(e.what());
  } catch (...) {
    why = internal("an exception that is no std::exception");
  }
  observe::Progress(2).say("cohaul: " + why.message());
  if (told) told(exit_code(why.code()), std::string(why.message()));
  job::tell_torchrun(why);
  if (job) job->report_failure(why);
  if (job && why.code() == Code::peer_lost) name_first_failure(*job, why);
  return exit_code(why.code());
}

int run(const std::function<void(job::Job&)>& body) {
  const FailingWrites failing;
  std::unique_ptr<job::Job> job;
  try {
    job = join(or_throw(job::from_environment()));
    at::set_num_threads(job->threads());
    body(*job);
    or_throw(job->close());
    return 0;
  } catch (...) {
    return report_exception(job.get());
  }
}

}  // namespace cohaul::train
