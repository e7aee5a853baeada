#include "cohaul/cli/doctor_command.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cohaul/base/exit_code.h"
#include "cohaul/base/failing_writes.h"
#include "cohaul/cli/child.h"
#include "cohaul/cli/doctor_report.h"
#include "cohaul/job/cores.h"
#include "cohaul/job/told_variables.h"

namespace cohaul::cli {
namespace {

constexpr std::string_view kOwnMessage = "cohaul: ";
constexpr Duration kAnswerTimeout = 60 * kSecond;  // a cold disk takes long to load LibTorch

/// The worker loads LibTorch, which this program does not.
WorkerAnswer ask(const std::string& worker) {
  if (const Status there = check_executable("the worker", worker); !there.ok())
    return {.text = std::string(there.message())};
  const auto child =
      run_child({worker, "--version"}, {.capture_out = true, .capture_err = true, .timeout = kAnswerTimeout});
  if (!child.ok()) return {.text = std::string(child.status().message())};
  std::string said = child->exit == kDone ? child->out : child->err;
  while (said.ends_with('\n')) said.pop_back();
  if (said.starts_with(kOwnMessage)) said.erase(0, kOwnMessage.size());
  if (said.empty()) said = "it ended with exit code " + std::to_string(child->exit) + " and without a word";
  return {child->exit == kDone, said};
}

}  // namespace

int run_doctor(const DoctorArguments& arguments) {
  const FailingWrites failing;
  Examination e;
  e.machine = read_machine();
  e.network = read_network();
  e.core_distances = core_distances(job::cpus_of(e.machine.affinity));
  const Result<std::string> folder = own_folder();
  e.worker_path = (folder.ok() ? *folder : "") + "/cohaul-worker";
  e.worker = ask(e.worker_path);
  e.environment = job::told_variables();
  std::error_code error;
  e.last_failed_run = last_failed_run(std::filesystem::temp_directory_path(error).string());
  const int workers = arguments.workers > 0 ? arguments.workers : std::max(1, e.machine.cores);
  e.findings = diagnose(e.machine, e.network, e.worker, refused_calls(), job::wanted_threads(), workers);
  if (arguments.json) std::cout << json_of(e).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
  else std::cout << text_of(e);
  std::cout.flush();
  return std::ranges::any_of(e.findings, &Finding::stops_jobs) ? kFailed : kDone;
}

}  // namespace cohaul::cli
