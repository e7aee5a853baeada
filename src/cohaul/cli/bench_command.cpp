#include "cohaul/cli/bench_command.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "cohaul/cli/child.h"

namespace cohaul::cli {
namespace {

constexpr std::string_view kPrefix = "cohaul-bench-";

std::string benches_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = file.path().filename().string();
    if (name.starts_with(kPrefix)) names.push_back(name.substr(kPrefix.size()));
  }
  std::ranges::sort(names);
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

}  // namespace

Status run_bench(const std::string& what, const std::vector<std::string>& arguments) {
  COHAUL_ASSIGN(const std::string folder, own_folder());
  const std::string program = folder + "/" + std::string(kPrefix) + what;
  if (what.find('/') != std::string::npos || ::access(program.c_str(), X_OK) != 0) {
    const std::string there = benches_in(folder);
    return invalid("bench " + what + ": no such bench beside " + folder + "/cohaul; " +
                   (there.empty() ? "none is installed: run it from a build of the sources (./dev bench)"
                                  : "there are: " + there));
  }
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  return system_error("start " + program, errno);
}

}  // namespace cohaul::cli
