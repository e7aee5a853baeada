#pragma once
// Shared by the benchmarks of `cohaul train`: its runs, and the program around the measurement.

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cohaul/base/status.h"

namespace cohaul::bench {

/// Runs jobs/MODEL.toml and returns the lines of its record. sets: KEY=VALUE. Blocks until it has ended. Errors: internal, with its output.
Result<std::vector<nlohmann::json>> train(const std::string& model, int workers, const std::vector<std::string>& sets);
/// Returns the whole lines of a record, which may still be written.
std::vector<nlohmann::json> read_record(const std::string& path);
/// Returns the lines of one kind.
std::vector<nlohmann::json> lines_of(const std::vector<nlohmann::json>& record, const std::string& kind);

struct Arguments {
  int reps;
  std::string json{};               // a file to write; empty: none
  std::vector<std::string> sets{};  // KEY=VALUE
};

/// Writes figures as a line of JSON, if the user asked for a file.
using Note = std::function<void(const nlohmann::json& figures)>;

/// The main function of a benchmark: parses the arguments, measures, and prints the table that `measure` returns. name: as in `cohaul bench NAME`.
int bench_main(int argc, char** argv, const std::string& name, const std::string& about, Arguments arguments,
               const std::function<Result<std::string>(const Arguments&, const Note&)>& measure);

}  // namespace cohaul::bench
