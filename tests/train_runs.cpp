#include "train_runs.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace cohaul::tests {
namespace {

std::string read(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string quoted(const std::string& s) { return "'" + s + "'"; }

}  // namespace

nlohmann::json RunResult::result() const {
  for (const auto& line : record)
    if (line.value("record", "") == "result") return line;
  return nlohmann::json::object();
}

std::string fresh_folder() {
  std::string name = testing::TempDir() + "cohaul-test-XXXXXX";
  return mkdtemp(name.data()) ? name : testing::TempDir();
}

RunResult train(const std::string& job, const std::vector<std::string>& arguments, int timeout_s) {
  std::string folder = fresh_folder();
  std::string command =
      "timeout -k 10 " + std::to_string(timeout_s) + " " + COHAUL_BIN + "/cohaul train " + quoted(job);
  for (const std::string& a : arguments) command += " " + quoted(a);
  command += " --record " + folder + "/record >" + folder + "/out 2>" + folder + "/err";
  int status = std::system(command.c_str());
  RunResult r;
  r.exit = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  r.out = read(folder + "/out");
  r.err = read(folder + "/err");
  std::istringstream lines(read(folder + "/record"));
  for (std::string line; std::getline(lines, line);) r.record.push_back(nlohmann::json::parse(line));
  std::filesystem::remove_all(folder);
  return r;
}

}  // namespace cohaul::tests
