#pragma once
// Runs of the built `cohaul train` as a user would start them.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cohaul::tests {

struct RunResult {
  int exit = -1;  // 128 + signal if it was killed
  std::string out, err;
  std::vector<nlohmann::json> record;  // its lines
  nlohmann::json result() const;       // the last line of kind "result"; null: none
  std::string hash() const { return result().value("parameters_sha256", ""); }
};

/// A new empty folder, removed by nobody: below the test's temporary folder.
std::string fresh_folder();

/// `cohaul train JOB ARGUMENTS --record …`, at most timeout_s seconds.
RunResult train(const std::string& job, const std::vector<std::string>& arguments, int timeout_s = 120);

}  // namespace cohaul::tests
