#pragma once
// What benchmarks of `cohaul train` share: its runs, and the program around what is measured.

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cohaul/base/status.h"

namespace cohaul::bench {

/// The lines of the record of a run of jobs/MODEL.toml. sets: KEY=VALUE. Blocks until it has ended. Errors: internal, with what it said.
Result<std::vector<nlohmann::json>> train(const std::string& model, int workers, const std::vector<std::string>& sets);
/// The lines of one kind.
std::vector<nlohmann::json> lines_of(const std::vector<nlohmann::json>& record, const std::string& kind);

struct Arguments {
  int reps;
  std::string json{};               // a file; empty: none
  std::vector<std::string> sets{};  // KEY=VALUE
};

/// Writes a figure as a line of JSON, where a file is wanted.
using Note = std::function<void(const nlohmann::json& figures)>;

/// A benchmark's main(): reads the arguments, measures, and prints the table that `measure` returns. name: as `cohaul bench NAME`.
int bench_main(int argc, char** argv, const std::string& name, const std::string& about, Arguments arguments,
               const std::function<Result<std::string>(const Arguments&, const Note&)>& measure);

}  // namespace cohaul::bench
