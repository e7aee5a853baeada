#pragma once
// From what the user wrote to a whole job: file, --set, --workers, defaults, checks.

#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/config/config.h"

namespace cohaul::cli {

struct Request {
  std::string job_file;
  std::vector<std::string> sets{};        // "KEY=VALUE", in order
  std::optional<std::int64_t> workers{};  // --workers
  std::optional<std::int64_t> tasks{};    // of an engine: servers and workers; workers has no value then
  bool own_program = false;               // --program: model.* is the program's
  int cores = 1;           // of this host, for job.threads; 0: that is left to the workers, who know all hosts
  int wanted_threads = 0;  // OMP_NUM_THREADS; 0: not set
  std::optional<std::int64_t> slices{}, threads{};  // of the checkpoint that the run goes on from: for what is not set
};

/// Every key of the job with its value: defaults filled in (strategy.name, train.slices, job.threads, weight_decay by
/// what they depend on); keys that the job does not read have none. Unset stay: train.steps or train.epochs (the
/// other), train.init, train.save, train.checkpoint, data.path, job.logs. Reads the job file and nothing else. Errors: invalid.
Result<config::Config> resolve(const Request& request);

/// The same from TOML text; file is its name in messages. Request::job_file is not read.
Result<config::Config> resolve_text(std::string_view toml, const std::string& file, const Request& request);

}  // namespace cohaul::cli
