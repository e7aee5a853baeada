#pragma once
// Turns the user's input (job file, --set, --workers) into a complete, checked job with all defaults.

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
  /// Number of an engine's tasks, servers and workers together; then workers has no value.
  std::optional<std::int64_t> tasks{};
  bool own_program = false;  // --program: the keys model.* belong to the program
  int cores = 1;             // cores of this host, for job.threads; 0: the workers decide, because they know all hosts
  int wanted_threads = 0;    // OMP_NUM_THREADS; 0: not set
  /// From the checkpoint that the run continues; used where the job does not set them.
  std::optional<std::int64_t> slices{}, threads{};
};

/// Returns the job with a value for every key. Defaults are filled in; strategy.name, train.slices, job.threads and weight_decay have defaults that
/// depend on other keys. Keys that the job does not read have no value. These may stay unset: train.steps or train.epochs (one of both), train.init,
/// train.save, train.checkpoint, data.path, job.logs. Reads the job file and nothing else. Errors: invalid.
Result<config::Config> resolve(const Request& request);

/// Does the same for TOML text; file: its name in messages. Does not read Request::job_file.
Result<config::Config> resolve_text(std::string_view toml, const std::string& file, const Request& request);

}  // namespace cohaul::cli
