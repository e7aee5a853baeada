#include "cohaul/cli/train_command.h"

#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "cohaul/base/exit_code.h"
#include "cohaul/base/failing_writes.h"
#include "cohaul/checkpoint/folder.h"
#include "cohaul/cli/child.h"
#include "cohaul/cli/launching.h"
#include "cohaul/cli/resolve.h"
#include "cohaul/job/cores.h"
#include "cohaul/job/engines/place.h"
#include "cohaul/job/error_file.h"
#include "cohaul/job/job.h"
#include "cohaul/job/keys.h"
#include "cohaul/job/memory_file.h"
#include "cohaul/job/signals.h"
#include "cohaul/job/task.h"
#include "cohaul/observe/record.h"

namespace cohaul::cli {
namespace {

constexpr Duration kCheckTimeout = 60 * kSecond;
// A worker's answer to --check begins so, which tells a Cohaul worker from another program.
constexpr std::string_view kWorkerGreeting = "cohaul-worker";

/// Returns whether the record has a result: worker 0 may be lost after it has written the result and before it has said so.
bool has_result(const std::string& record) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(record, error)) return false;  // a pipe cannot be read again
  std::ifstream in(record);
  std::string last;
  for (std::string line; std::getline(in, line);) last = std::move(line);
  return last.starts_with(R"({"record":"result",)") && last.ends_with('}');
}

Outcome checked(const Status& status) { return outcome_of(status, "check"); }

std::string without_newline(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

/// Returns the last line with this beginning; empty if there is none.
std::string line_with(const std::string& text, std::string_view begin) {
  std::istringstream lines(text);
  std::string found;
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(begin)) found = line;
  return found;
}

/// Lets a worker check whether it can run the job: model, data and the shapes of train.init.
Outcome ask_worker(const std::string& program, bool own, const std::string& job_path) {
  const auto child = run_child({program, "--check", "--job", job_path},
                               {.capture_out = true, .capture_err = true, .timeout = kCheckTimeout});
  if (!child.ok()) return checked(own ? child.status().context("--program") : child.status());
  if (child->interrupted != 0)
    return Failure{.exit = child->exit, .operation = "check", .message = job::interruption(child->interrupted)};
  if (own && line_with(child->out, kWorkerGreeting).empty()) {
    return checked(invalid("--program " + program + ": is not a Cohaul worker" +
                           (child->timed_out ? " (no answer to --check)" : "") +
                           "; its main should return cohaul::worker_main(argc, argv, models)"));
  }
  if (child->exit == kDone) return std::nullopt;
  // The program's own output may be on stderr too.
  std::string message = line_with(child->err, "cohaul: ");
  if (message.empty()) message = without_newline(child->err);
  if (message.empty())
    message = program + " --check ended with exit code " + std::to_string(child->exit) + " and without a word";
  if (message.starts_with("cohaul: ")) message.erase(0, 8);
  return Failure{
      .exit = child->exit == kUsersMistake ? kUsersMistake : kFailed, .operation = "check", .message = message};
}

/// Adds a file that workers on other hosts write and that is brought to this host. Returns the path for the worker's option.
std::string output_of(std::vector<job::HomeFile>& files, const std::string& name, const std::string& path,
                      job::HomeFile::How how) {
  if (path == "-") return path;  // stdout is brought here anyway
  files.push_back({name, path, how});
  return "{output:" + name + "}";
}

/// Plans the job's processes on other hosts. Returns the path at which their worker 0 writes train.save.
Result<std::string> plan_elsewhere(const config::Config& job, TrainArguments& arguments, job::LaunchOptions& out,
                                   bool goes_on) {
  using How = job::HomeFile::How;
  COHAUL_TRY(set_hosts(arguments.on, job.get<std::int64_t>("job.workers"), out));
  out.texts["job"] = job.encode();
  const auto redirect = [&](std::string& path, const char* name, How how) {
    if (!path.empty()) path = output_of(out.files, name, path, how);
  };
  redirect(arguments.record, "record", How::append);
  redirect(arguments.csv, "csv", goes_on ? How::append : How::anew);
  redirect(arguments.tensorboard, "tensorboard", How::folder);
  std::string save = job.get_or("train.save", std::string());
  redirect(save, "save", How::whole);
  return save;
}

Result<job::LaunchOptions> plan(const config::Config& job, TrainArguments arguments, std::string job_path,
                                bool goes_on = false) {
  COHAUL_ASSIGN(const std::string folder, own_folder());
  job::LaunchOptions out = job::launch_options_of(job);
  const bool elsewhere = arguments.on.given();
  std::string save;
  if (elsewhere) {
    job_path = "{text:job}";
    COHAUL_ASSIGN(save, plan_elsewhere(job, arguments, out, goes_on));
  }
  std::vector<std::string>& worker = out.worker_command;
  worker = {arguments.program.empty() ? folder + "/cohaul-worker" : arguments.program, "--job", job_path};
  const std::pair<const char*, std::string> files[] = {{"--record", arguments.record},
                                                       {"--csv", arguments.csv},
                                                       {"--tensorboard", arguments.tensorboard},
                                                       {"--save", save}};
  for (const auto& [option, path] : files)
    if (!path.empty()) worker.insert(worker.end(), {option, path});
  if (arguments.quiet) worker.push_back("--quiet");
  if (goes_on) worker.push_back("--goes-on");
  out.server_command = {folder + "/cohaul-server"};
  out.servers = static_cast<int>(job.get_or<std::int64_t>("strategy.servers", 0));
  if (elsewhere) {
    out.check = {worker.front(), "--check", "--job", job_path};
    return out;
  }
  COHAUL_TRY(check_executable(arguments.program.empty() ? "the worker" : "--program", worker.front()));
  if (out.servers > 0) COHAUL_TRY(check_executable("the server", out.server_command.front()));
  return out;
}

struct Resolved {
  config::Config job;
  std::string from;  // the checkpoint that it continues from; empty: it starts from the beginning
};

/// Resolves the job. Slices and threads that it does not set are taken from the checkpoint that it continues from.
Result<Resolved> resolve_checkpointed(Request request) {
  COHAUL_ASSIGN(config::Config job, resolve(request));
  const std::optional<std::string> folder = job.resumes_from();
  if (!folder) return Resolved{std::move(job), ""};
  const checkpoint::Found found = checkpoint::find(*folder);
  if (found.path.empty()) {
    if (job.get<std::string>("train.resume") == "auto") return Resolved{std::move(job), ""};
    return job.mistake("train.resume",
                       found.passed_over.empty() ? "there is no checkpoint" : found.passed_over.front().message());
  }
  request.slices = found.manifest.slices;
  request.threads = found.manifest.threads;
  COHAUL_ASSIGN(job, resolve(request).context("going on from " + found.path));
  return Resolved{std::move(job), found.path};
}

Request request_of(const TrainArguments& arguments) {
  return {.job_file = arguments.job_file,
          .sets = arguments.sets,
          .workers = arguments.workers,
          .own_program = !arguments.program.empty(),
          .cores = arguments.on.given() ? 0 : job::cores(),
          .wanted_threads = job::wanted_threads()};
}

Outcome train_once(const config::Config& job, const TrainArguments& arguments, int tries) {
  const auto handover = job::MemoryFile::of(job.encode());
  if (!handover.ok()) return checked(handover.status());
  auto options = plan(job, arguments, handover->path(), tries > 0);
  if (!options.ok()) return checked(options.status());
  if (tries == 0 && !arguments.on.given())
    if (Outcome f = ask_worker(options->worker_command.front(), !arguments.program.empty(), handover->path())) return f;
  bool stopped = false;
  Outcome ended = launch_and_wait(*std::move(options), &stopped);
  if (stopped && ended) {
    const bool goes_on = job.get<std::string>("train.resume") == "auto";
    ended->message += goes_on ? "; the same command goes on from it" : "; go on from it with --set train.resume=auto";
  }
  return ended;
}

/// Returns whether a restart can help: the failure was not a mistake of the user, nor a signal.
bool may_restart(const Failure& failure) { return failure.exit == kFailed || failure.exit == kLost; }

/// Takes the number of workers from --hosts if the user has not given it.
Status count_workers(TrainArguments& arguments) {
  if (!arguments.on.given()) return {};
  std::optional<std::int64_t> workers = arguments.workers;
  if (!workers) {
    COHAUL_ASSIGN(const config::Config job, resolve(request_of(arguments)));
    if (job.set_by_user("job.workers")) workers = job.get<std::int64_t>("job.workers");
  }
  job::LaunchOptions options;
  COHAUL_TRY(set_hosts(arguments.on, workers, options));
  arguments.workers = options.workers;
  return {};
}

Outcome train(TrainArguments arguments, observe::Record& record) {
  if (const Status s = count_workers(arguments); !s.ok()) return checked(s);
  auto resolved = resolve_checkpointed(request_of(arguments));
  if (!resolved.ok()) return checked(resolved.status());
  if (Status s = check_files(resolved->job, arguments.on.given()); !s.ok()) return checked(s);
  if (Status s = check_outputs(arguments); !s.ok()) return checked(s);
  const std::int64_t restarts = resolved->job.get<std::int64_t>("job.restarts");
  for (int tries = 0;; ++tries) {
    const Outcome ended = train_once(resolved->job, arguments, tries);
    if (!ended || !may_restart(*ended) || tries == restarts || has_result(arguments.record)) return ended;
    if (tries == 0) arguments.sets.push_back("train.resume=auto");
    resolved = resolve_checkpointed(request_of(arguments));
    if (!resolved.ok()) return checked(resolved.status());
    const std::string& from = resolved->from;
    std::cerr << "cohaul: " << ended->message << "\ncohaul: restart " << tries + 1 << " of " << restarts << ", "
              << (from.empty() ? "from the beginning: there is no checkpoint yet" : "from " + from) << std::endl;
    record.write({"restart",
                  {{"try", tries + 1},
                   {"from", from.empty() ? observe::Value(nullptr) : observe::Value(from)},
                   {"message", ended->message}}});
  }
}

/// Under an engine whose tasks are the job's processes, turns this process into its worker or server; returns only with an error. Only task 0 writes
/// files.
Status become_task(TrainArguments arguments, const job::Place& place) {
  if (place.task != 0) arguments.record = arguments.csv = arguments.tensorboard = "";
  Request request = request_of(arguments);
  request.workers.reset();
  request.tasks = place.tasks;
  request.cores = 0;
  COHAUL_ASSIGN(const Resolved resolved, resolve_checkpointed(request));
  const config::Config& job = resolved.job;
  if (job.get<std::int64_t>("job.restarts") > 0)
    return job.mistake("job.restarts",
                       place.engine + " has started this job's processes, and may start them again: leave the key out");
  COHAUL_TRY(check_files(job));
  COHAUL_TRY(check_outputs(arguments));
  COHAUL_ASSIGN(const job::MemoryFile handover, job::MemoryFile::of(job.encode()));
  handover.keep_for_exec();
  COHAUL_ASSIGN(const job::LaunchOptions options, plan(job, arguments, handover.path()));
  COHAUL_TRY(job::expect_workers(place, arguments.workers, options.servers));
  return job::become_member(options, place);
}

/// Writes the failure to stderr and to the record, and returns its exit code.
int say(const Failure& failure, observe::Record& record) {
  std::cerr << "cohaul: " << failure.message << std::endl;
  record.write(event_of(failure));
  if (Status s = record.status(); !s.ok()) std::cerr << "cohaul: " << s.message() << "\n";
  return failure.exit;
}

/// Runs as a task of an engine that has started several. Task 0 has the record.
int run_task(const TrainArguments& arguments, const job::Place& place) {
  auto record = observe::Record::create(place.task == 0 ? arguments.record : std::string());
  const Status status = record.ok() ? become_task(arguments, place) : record.status();
  job::tell_torchrun(status);
  if (record.ok()) return say(*checked(status), *record);
  std::cerr << "cohaul: " << status.message() << "\n";
  return exit_code(status.code());
}

}  // namespace

int run_train(const TrainArguments& arguments) {
  const FailingWrites failing;
  const Result<std::optional<job::Place>> place = job::place_from_environment();
  const bool by_engine = place.ok() && *place && (*place)->tasks > 1;
  if (by_engine && !arguments.on.given()) return run_task(arguments, **place);
  job::Signals signals;  // blocks signals from the beginning on; the Signals made later receive them
  // Opened first, so that every failure is recorded.
  auto record = observe::Record::create(arguments.record);
  if (!record.ok()) {
    std::cerr << "cohaul: " << record.status().message() << "\n";
    return exit_code(record.status().code());
  }
  Outcome failed = checked(place.status());
  if (!failed && by_engine) failed = checked(refuse_hosts(**place));
  if (!failed && *place && !arguments.workers && !arguments.on.given())
    failed = checked((*place)->mistake);  // several workers are wanted, and the engine's variables say why that fails
  if (!failed) failed = train(arguments, *record);
  if (!failed || (failed->exit == kLost && has_result(arguments.record))) return kDone;
  return say(*failed, *record);
}

}  // namespace cohaul::cli
