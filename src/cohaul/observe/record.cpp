#include "cohaul/observe/record.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include <nlohmann/json.hpp>

namespace cohaul::observe {
namespace {

using Json = nlohmann::ordered_json;

Json number(double v) { return std::isfinite(v) ? Json(v) : Json(nullptr); }
Json text_or_null(const std::string& s) { return s.empty() ? Json(nullptr) : Json(s); }
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

void add(Json& out, const std::optional<Asynchrony>& a) {
  if (!a) return;
  out["staleness_mean"] = number(a->staleness_mean);
  out["staleness_max"] = a->staleness_max;
  out["gap_max"] = a->gap_max;
}

}  // namespace

std::string to_json(const StartRecord& r) {
  Json out{{"record", "start"}, {"cohaul", r.cohaul}, {"libtorch", r.libtorch}, {"instruction_set", r.instruction_set}};
  Json job = Json::parse(r.job, nullptr, false);
  out["job"] = job.is_discarded() ? Json(nullptr) : std::move(job);
  if (!r.notes.empty()) out["notes"] = r.notes;
  return dump(out);
}

std::string to_json(const ProcessRecord& r) {
  return dump(Json{{"record", "process"},
                   {"role", r.role},
                   {"rank", r.rank},
                   {"pid", r.pid},
                   {"host", r.host},
                   {"log", text_or_null(r.log)}});
}

std::string to_json(const StepRecord& r) {
  Json out{{"record", "step"}, {"step", r.step}, {"loss", number(r.loss)}, {"samples_per_s", number(r.samples_per_s)}};
  add(out, r.asynchrony);
  if (r.waiting) out["waiting"] = number(*r.waiting);
  if (r.lr) out["lr"] = number(*r.lr);
  if (r.gradient_norm) out["gradient_norm"] = number(*r.gradient_norm);
  if (r.skipped > 0) out["skipped"] = r.skipped;
  return dump(out);
}

std::string to_json(const CheckpointRecord& r) {
  Json out{{"record", "checkpoint"}, {"step", r.step}, {"path", r.path}};
  if (r.error.empty()) out["bytes"] = r.bytes;
  out["seconds"] = number(r.seconds);
  if (!r.error.empty()) out["error"] = r.error;
  return dump(out);
}

std::string to_json(const ResumedRecord& r) {
  Json out{{"record", "resumed"}, {"step", r.step}, {"path", r.path}};
  if (!r.passed_over.empty()) out["passed_over"] = r.passed_over;
  return dump(out);
}

std::string to_json(const ResultRecord& r) {
  Json out{{"record", "result"}, {"steps", r.steps}, {"loss", number(r.loss)}};
  for (const auto& [name, value] : r.metrics) out[name] = number(value);
  out["step_ms_median"] = number(r.step_ms_median);
  out["samples_per_s"] = number(r.samples_per_s);
  out["seconds"] = number(r.seconds);
  out["parameters_sha256"] = r.parameters_sha256;
  add(out, r.asynchrony);
  for (const auto& [name, value] : r.measures) out[name] = number(value);
  return dump(out);
}

std::string to_json(const ErrorRecord& r) {
  Json out{{"record", "error"}, {"exit", r.exit}, {"role", text_or_null(r.role)}, {"rank", nullptr}};
  if (r.rank) out["rank"] = *r.rank;
  out["operation"] = text_or_null(r.operation);
  out["message"] = r.message;
  return dump(out);
}

Result<Record> Record::open(const std::string& path, int flags) {
  if (path.empty()) return Record();
  if (path == "-") return Record(STDOUT_FILENO, false);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | flags, 0666);
  if (fd < 0)
    return invalid("--record " + path + ": cannot be written: " + std::strerror(errno) +
                   "; give a path in a folder that exists and is yours, or -");
  return Record(fd, true);
}

Result<Record> Record::create(const std::string& path) { return open(path, O_TRUNC); }
Result<Record> Record::append(const std::string& path) { return open(path, 0); }

Record& Record::operator=(Record&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(owned_, other.owned_);
  return *this;
}

Record::~Record() {
  if (owned_ && fd_ >= 0) ::close(fd_);
}

Status Record::write_line(std::string line) {
  line += '\n';
  for (std::size_t done = 0; done < line.size();) {
    const ssize_t n = ::write(fd_, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error("write the record", errno);
    done += static_cast<std::size_t>(n);
  }
  return {};
}

}  // namespace cohaul::observe
