#pragma once
// Runs the built `cohaul train` as a user would.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "broken_files.h"
#include "running.h"

namespace cohaul::tests {

struct RunResult {
  int exit = -1;  // 128 + signal if it was killed; -1: not ended in time
  std::string out, err;
  std::vector<nlohmann::json> record;  // lines of the record
  nlohmann::json result() const;       // the last line of kind "result"; an empty object if there is none
  std::string hash() const { return result().value("parameters_sha256", ""); }
};

/// Runs `cohaul train JOB ARGUMENTS --record …`, at most timeout_s seconds.
RunResult train(const std::string& job, const Arguments& arguments, int timeout_s = 120);

/// Return the record of a run with `--record {}/record`, and the hash of its result's parameters; empty if it has none.
std::vector<nlohmann::json> record_lines(const Running& running);
std::string hash_of(const Running& running);

/// Returns whether the record of such a run has a step.
bool has_stepped(const Running& running);

/// Returns a folder with this job, as job.toml, and its data, in data.
TemporaryFolder job_folder(const std::string& job, const IdxSizes& sizes = {});

/// Returns the pairs with "--set" before each.
Arguments set(const std::vector<std::string>& pairs);
Arguments operator+(Arguments a, const Arguments& b);

}  // namespace cohaul::tests
