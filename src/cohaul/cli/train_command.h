#pragma once
// `cohaul train JOB.toml …`: resolves the job, checks what can be checked in advance, launches the job, and reports its outcome.

#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/cli/hosts_option.h"
#include "cohaul/config/config.h"

namespace cohaul::cli {

struct TrainArguments {
  std::string job_file;
  std::vector<std::string> sets{};
  std::optional<std::int64_t> workers{};
  std::string record{}, csv{};  // a file, "-", or empty
  std::string tensorboard{};    // a folder, or empty
  std::string program{};        // empty: cohaul-worker
  bool quiet = false;
  HostsOption on{};
};

/// Blocks until the job has ended. Returns the exit code. An error is written to stderr and to the record.
int run_train(const TrainArguments& arguments);

/// Checks the job's files without LibTorch: train.init must be readable as safetensors, train.save writable, data.path a folder, and job.logs must
/// exist or be creatable. elsewhere: the data is on other hosts, which check it themselves. Errors: invalid, naming place and key.
Status check_files(const config::Config& job, bool elsewhere = false);
/// Checks that --csv and --tensorboard can be written. Makes the folder, and does not change a file that exists. Errors: invalid, naming the option.
Status check_outputs(const TrainArguments& arguments);

}  // namespace cohaul::cli
