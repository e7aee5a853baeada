#include "cohaul/cli/doctor_report.h"

#include <gnu/libc-version.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cohaul/observe/format.h"
#include "cohaul/update/instruction_set.h"

namespace cohaul::cli {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const Limit& limit) { return limit ? Json(*limit) : Json(nullptr); }

Json processor_of(const Examination& e) {
  Json nodes = Json::array(), pairs = Json::array();
  for (const NumaNode& n : e.machine.nodes)
    nodes.push_back({{"id", n.id}, {"cpus", n.cpus}, {"memory_bytes", n.bytes}});
  for (const CorePair& p : e.core_distances)
    pairs.push_back({{"from", p.from}, {"to", p.to}, {"round_trip_ns", p.round_trip_ns}});
  return {{"model", e.machine.processor},
          {"cores", e.machine.cores},
          {"affinity", e.machine.affinity},
          {"cgroup_cores", e.machine.quota > 0 ? Json(e.machine.quota) : Json(nullptr)},
          {"numa_nodes", nodes},
          {"core_to_core", pairs}};
}

Json memory_of(const Machine& m) {
  return {{"total_bytes", m.memory.total},
          {"available_bytes", m.memory.available},
          {"swap_bytes", m.memory.swap},
          {"cgroup_limit_bytes", json_of(m.memory.cgroup_limit)},
          {"cgroup_used_bytes", m.memory.cgroup_limit ? Json(m.memory.cgroup_used) : Json(nullptr)},
          {"dev_shm_bytes", m.shm_bytes},
          {"dev_shm_free_bytes", m.shm_free}};
}

Json last_run_of(const LastRun& run) {
  if (run.folder.empty()) return nullptr;
  Json logs = Json::array();
  for (const LastLog& log : run.logs) logs.push_back({{"path", log.path}, {"last_lines", log.last_lines}});
  return {{"folder", run.folder}, {"logs", logs}};
}

std::string bytes_in_words(std::uint64_t bytes) {
  const double gib = static_cast<double>(bytes) / (1 << 30), mib = static_cast<double>(bytes) / (1 << 20);
  return gib >= 1 ? observe::significant(gib, 3) + " GiB" : observe::significant(mib, 3) + " MiB";
}

/// One value of the report, on one line.
std::string in_words(const std::string& key, const Json& value, const char* null = "unlimited") {
  if (value.is_null()) return null;
  if (value.is_number_unsigned() && key.ends_with("_bytes")) return bytes_in_words(value.get<std::uint64_t>());
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump();
  std::string out;
  for (const Json& part : value) out += (out.empty() ? "" : ", ") + in_words(key, part, null);
  return out.empty() ? "none" : out;
}

std::string name_in_words(std::string key) {
  if (key.ends_with("_bytes")) key.resize(key.size() - 6);
  if (key.starts_with("dev_shm")) key.replace(0, 7, "/dev/shm");
  std::ranges::replace(key, '_', ' ');
  return key;
}

/// Lines of names and values below a heading; the values stand in one column.
class Text {
 public:
  void heading(const std::string& title) { text_ += (text_.empty() ? "" : "\n") + title + "\n"; }
  void line(std::string name, const std::string& value) {
    name.resize(std::max(name.size() + 2, kColumn), ' ');
    text_ += "  " + name + (value.empty() ? "unknown" : value) + "\n";
  }
  void plain(const std::string& line) { text_ += line + "\n"; }
  std::string take() { return std::move(text_); }

 private:
  static constexpr std::size_t kColumn = 20;
  std::string text_;
};

void say_processor(const Examination& e, const Json& processor, Text& out) {
  for (const char* key : {"model", "cores", "affinity", "cgroup_cores"})
    out.line(name_in_words(key), in_words(key, processor.at(key)));
  for (const NumaNode& n : e.machine.nodes)
    out.line("NUMA node " + std::to_string(n.id), "cores " + n.cpus + ", " + bytes_in_words(n.bytes));
  const std::string distance = summary_of(e.core_distances);
  out.line("core to core", distance.empty() ? "there is one core" : distance + ", there and back");
}

void say_last_run(const LastRun& run, Text& out) {
  out.heading("last failed run");
  if (run.folder.empty()) return out.plain("  none has left logs among the temporary files");
  for (const LastLog& log : run.logs) {
    out.plain("  " + log.path);
    for (const std::string& line : log.last_lines) out.plain("    " + line);
  }
}

void say_findings(const std::vector<Finding>& findings, Text& out) {
  out.heading("what is wrong");
  if (findings.empty()) out.plain("  nothing that cohaul doctor looks for");
  for (const Finding& f : findings) {
    out.plain(std::string(f.stops_jobs ? "  wrong: " : "  note:  ") + f.problem);
    out.plain("         fix: " + f.fix);
  }
}

}  // namespace

Json json_of(const Examination& e) {
  Json findings = Json::array();
  for (const Finding& f : e.findings)
    findings.push_back({{"stops_jobs", f.stops_jobs}, {"problem", f.problem}, {"fix", f.fix}});
  const Limits& l = e.machine.limits;
  return {{"cohaul",
           {{"version", COHAUL_VERSION},
            {"build", COHAUL_BUILD},
            {"compiler", COHAUL_COMPILER},
            {"instruction_set", update::instruction_set()}}},
          {"worker", {{"path", e.worker_path}, {"starts", e.worker.ok}, {"says", e.worker.text}}},
          {"system",
           {{"kernel", e.machine.kernel},
            {"libc", std::string("glibc ") + ::gnu_get_libc_version()},
            {"distribution", e.machine.distribution}}},
          {"processor", processor_of(e)},
          {"memory", memory_of(e.machine)},
          {"limits",
           {{"open_files", json_of(l.open_files)},
            {"address_space_bytes", json_of(l.address_space)},
            {"file_size_bytes", json_of(l.file_size)},
            {"locked_memory_bytes", json_of(l.locked_memory)},
            {"processes", json_of(l.processes)}}},
          {"network",
           {{"host", e.network.host},
            {"host_stands_for", e.network.means},
            {"reached_by", e.network.addresses},
            {"interfaces", e.network.interfaces}}},
          {"environment", e.environment},
          {"last_failed_run", last_run_of(e.last_failed_run)},
          {"findings", findings}};
}

std::string text_of(const Examination& e) {
  const Json report = json_of(e);
  Text out;
  for (const char* part : {"cohaul", "worker", "system", "processor", "memory", "limits", "network", "environment"}) {
    out.heading(part);
    const Json& values = report.at(part);
    if (values.empty()) out.plain("  none of the variables that Cohaul reads is set");
    if (part == std::string_view("processor")) {
      say_processor(e, values, out);
      continue;
    }
    for (const auto& [key, value] : values.items())
      if (!value.is_object())
        out.line(part == std::string_view("environment") ? key : name_in_words(key), in_words(key, value));
      else
        for (const auto& [name, addresses] : value.items()) out.line("interface " + name, in_words(name, addresses));
  }
  say_last_run(e.last_failed_run, out);
  say_findings(e.findings, out);
  return out.take();
}

}  // namespace cohaul::cli
