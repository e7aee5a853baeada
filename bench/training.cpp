#include "training.h"

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>

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
  std::ifstream lines(record);
  std::vector<json> out;
  for (std::string line; std::getline(lines, line);)
    if (json j = json::parse(line, nullptr, false); j.is_object()) out.push_back(std::move(j));
  std::filesystem::remove(record);
  if (child.exit != 0 || lines_of(out, "result").empty()) return internal("cohaul train, " + model + ": " + child.err);
  return out;
}

std::vector<json> lines_of(const std::vector<json>& record, const std::string& kind) {
  std::vector<json> out;
  for (const json& line : record)
    if (line.value("record", "") == kind) out.push_back(line);
  return out;
}

}  // namespace cohaul::bench
