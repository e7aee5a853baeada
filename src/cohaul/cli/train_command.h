#pragma once
// `cohaul train JOB.toml …`: resolves the job, checks everything that can be checked before anything is launched,
// launches, answers.

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

/// Blocks until the job has ended. Returns the exit code; a failure has been said on stderr and in the record.
int run_train(const TrainArguments& arguments);

/// What can be said of the job's files without LibTorch: train.init reads as safetensors, train.save can be written,
/// data.path is a folder, job.logs can be made. elsewhere: the data is on other hosts, which look for themselves. invalid, naming place and key.
Status check_files(const config::Config& job, bool elsewhere = false);
/// Whether --csv and --tensorboard can be written; the folder is made, what is in the file stays. invalid, naming the option.
Status check_outputs(const TrainArguments& arguments);

}  // namespace cohaul::cli
