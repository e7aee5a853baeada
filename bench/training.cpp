#include "training.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <filesystem>
#include <iostream>

#include "cohaul/base/exit_code.h"
#include "cohaul/cli/child.h"

namespace cohaul::bench {

using nlohmann::json;

Result<std::vector<json>> train(const std::string& model, int workers, const std::vector<std::string>& sets) {
  static std::atomic<int> number{0};
  COHAUL_ASSIGN(const std::string folder, cli::own_folder());
  const std::string record = std::filesystem::temp_directory_path() /
                             ("cohaul-bench-" + std::to_string(::getpid()) + "-" + std::to_string(number++));
  std::vector<std::string> argv{folder + "/cohaul", "train",     std::string(COHAUL_JOBS "/") + model + ".toml",
                                "--quiet",          "--workers", std::to_string(workers),
                                "--record",         record};
  for (const std::string& s : sets) argv.insert(argv.end(), {"--set", s});
  COHAUL_ASSIGN(const cli::ChildResult child,
                cli::run_child(argv, {.capture_out = true, .capture_err = true, .timeout = 600 * kSecond}));
  std::vector<json> out = read_record(record);
  std::filesystem::remove(record);
  if (child.exit != 0 || lines_of(out, "result").empty()) return internal("cohaul train, " + model + ": " + child.err);
  return out;
}

std::vector<json> read_record(const std::string& path) {
  std::ifstream lines(path);
  std::vector<json> out;
  for (std::string line; std::getline(lines, line);)
    if (json j = json::parse(line, nullptr, false); j.is_object()) out.push_back(std::move(j));
  return out;
}

std::vector<json> lines_of(const std::vector<json>& record, const std::string& kind) {
  std::vector<json> out;
  for (const json& line : record)
    if (line.value("record", "") == kind) out.push_back(line);
  return out;
}

int bench_main(int argc, char** argv, const std::string& name, const std::string& about, Arguments arguments,
               const std::function<Result<std::string>(const Arguments&, const Note&)>& measure) {
  CLI::App app(about);
  app.add_option("--reps", arguments.reps, "runs of each")->check(CLI::Range(1, 100));
  app.add_option("--json", arguments.json, "also write one JSON object a row to this file");
  app.add_option("--set", arguments.sets, "KEY=VALUE for our runs")->allow_extra_args(false);
  CLI11_PARSE(app, argc, argv);
  std::ofstream out;
  if (!arguments.json.empty()) out.open(arguments.json);
  if (!arguments.json.empty() && !out) {
    std::cerr << "cohaul: --json " << arguments.json << ": cannot be written\n";
    return kUsersMistake;
  }
  const Result<std::string> table = measure(arguments, [&](const json& figures) {
    if (out.is_open()) out << figures.dump() << "\n";
  });
  if (!table.ok()) {
    std::cerr << "cohaul: bench " << name << ": " << table.status().message() << "\n";
    return exit_code(table.status().code());
  }
  std::cout << *table;
  return kDone;
}

}  // namespace cohaul::bench
