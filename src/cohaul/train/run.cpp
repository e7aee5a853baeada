#include "cohaul/train/run.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/util/Exception.h>
#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <string>

#include "cohaul/base/exit_code.h"
#include "cohaul/base/failing_writes.h"
#include "cohaul/base/write_all.h"
#include "cohaul/job/error_file.h"
#include "cohaul/job/member.h"
#include "cohaul/observe/progress.h"
#include "cohaul/train/error.h"
#include "cohaul/transport/poller.h"

namespace cohaul::train {

std::unique_ptr<job::Job> join(const job::JoinOptions& options) {
  if (options.role != transport::Role::worker)
    throw Error(
        invalid("this task is to be a server of the job (COHAUL_SERVERS), and runs a worker's program: let `cohaul "
                "launch --servers N -- PROGRAM` start the right one in each task"));
  job::JoinOptions here = options;
  if (here.instruction_set.empty()) here.instruction_set = at::get_cpu_capability();
  std::unique_ptr<job::Job> job = or_throw(job::Job::join(here));
  const std::string different = job->rank() == 0 ? job::different_instruction_sets(job->members()) : "";
  if (!different.empty())
    observe::Progress(2).say("cohaul: " + different +
                             ": results may differ in the last bits from those of equal machines "
                             "(ATEN_CPU_CAPABILITY=avx2, say, in all environments makes LibTorch use the lower one)");
  return job;
}

namespace {

// The environment describes one member of one job. A process that has left the job cannot join it again.
std::atomic<bool> place_is_used{false};

constexpr Duration kFirstFailureKnown = kSecond;  // membership needs less time to decide about a loss

/// Names the process that failed first. Worker 0 may have seen a closed connection only; if no launcher reports the loss, worker 0 does, as soon as
/// the job has decided.
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

/// Returns LibTorch's message in one line.
Status status_of(const c10::Error& e) {
  std::string line = e.what_without_backtrace();
  std::replace(line.begin(), line.end(), '\n', ' ');
  return internal("LibTorch: " + line);
}

/// Writes the stack of calls to this process's log, if it has one on this host.
void log_stack(const c10::Error& e, const std::string& log) {
  const int fd = log.empty() ? -1 : ::open(log.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd < 0) return;
  const std::string stack = std::string(e.what()).substr(std::string(e.what_without_backtrace()).size()) + "\n";
  (void)write_all(fd, as_bytes(std::string_view(stack)));
  ::close(fd);
}

}  // namespace

int report_exception(job::Job* job, const std::function<void(int, const std::string&)>& told) {
  Status why;
  std::function<void()> afterwards;  // it may take long, because it looks up a stack
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
  } catch (const c10::Error& e) {
    why = status_of(e);
    if (job) afterwards = [e, log = job->options().log] { log_stack(e, log); };
  } catch (const std::exception& e) {
    why = internal(e.what());
  } catch (...) {
    why = internal("an exception that is no std::exception");
  }
  observe::Progress(2).say("cohaul: " + why.message());
  if (told) told(exit_code(why.code()), std::string(why.message()));
  job::tell_torchrun(why);
  if (job) job->report_failure(why);
  if (afterwards) afterwards();
  if (job && why.code() == Code::peer_lost) name_first_failure(*job, why);
  return exit_code(why.code());
}

int run(const std::function<void(job::Job&)>& body) {
  const FailingWrites failing;
  std::unique_ptr<job::Job> job;
  try {
    const job::JoinOptions options = or_throw(job::from_environment());
    if (!options.address.empty() && place_is_used.exchange(true))
      throw Error(
          invalid("run(): this process has left its job already, whose other processes may have ended: train "
                  "twice within one run(), or start the program twice"));
    job = join(options);
    at::set_num_threads(job->threads());
    body(*job);
    or_throw(job->close());
    return 0;
  } catch (...) {
    return report_exception(job.get());
  }
}

}  // namespace cohaul::train
