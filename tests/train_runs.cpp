#include "train_runs.h"

namespace cohaul::tests {

nlohmann::json RunResult::result() const {
  for (const auto& line : record)
    if (line.value("record", "") == "result") return line;
  return nlohmann::json::object();
}

RunResult train(const std::string& job, const Arguments& arguments, int timeout_s) {
  Running running(Arguments{"train", job} + arguments + Arguments{"--record", "{}/record"});
  RunResult r;
  r.exit = running.wait(timeout_s).value_or(-1);
  r.out = running.out();
  r.err = running.err();
  r.record = json_lines(read_file(running.folder() + "/record"));
  return r;
}

Arguments set(const std::vector<std::string>& pairs) {
  Arguments out;
  for (const std::string& p : pairs) out.insert(out.end(), {"--set", p});
  return out;
}

Arguments operator+(Arguments a, const Arguments& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace cohaul::tests
