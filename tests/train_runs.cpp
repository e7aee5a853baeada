#include "train_runs.h"

namespace cohaul::tests {

namespace {

nlohmann::json result_in(const std::vector<nlohmann::json>& record) {
  for (const auto& line : record)
    if (line.value("record", "") == "result") return line;
  return nlohmann::json::object();
}

}  // namespace

nlohmann::json RunResult::result() const { return result_in(record); }

std::vector<nlohmann::json> record_lines(const Running& running) {
  return json_lines(read_file(running.folder() + "/record"));
}

std::string hash_of(const Running& running) { return result_in(record_lines(running)).value("parameters_sha256", ""); }

RunResult train(const std::string& job, const Arguments& arguments, int timeout_s) {
  Running running(Arguments{"train", job} + arguments + Arguments{"--record", "{}/record"});
  RunResult r;
  r.exit = running.wait(timeout_s).value_or(-1);
  r.out = running.out();
  r.err = running.err();
  r.record = record_lines(running);
  return r;
}

bool has_stepped(const Running& running) {
  return read_file(running.folder() + "/record").find("\"record\":\"step\"") != std::string::npos;
}

TemporaryFolder job_folder(const std::string& job, const IdxSizes& sizes) {
  TemporaryFolder folder = fresh_folder();
  write_file(folder.file("job.toml"), job);
  write_data(folder.file("data"), sizes);
  return folder;
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
