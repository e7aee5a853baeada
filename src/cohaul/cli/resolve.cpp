#include "cohaul/cli/resolve.h"

#include <algorithm>
#include <filesystem>

#include "cohaul/cli/job_schema.h"
#include "cohaul/config/condition.h"
#include "cohaul/data/keys.h"
#include "cohaul/job/keys.h"
#include "cohaul/model/keys.h"
#include "cohaul/strategy/keys.h"
#include "cohaul/train/keys.h"
#include "cohaul/update/optimizer_keys.h"
#include "cohaul/update/schedule_keys.h"

namespace cohaul::cli {
namespace {

using config::Config;
using config::Entries;
using config::Entry;
using config::KeySpec;
using config::Location;
using config::ReadOptions;
using config::Schema;
using Int = std::int64_t;

Status check_required(const Config& job, const Schema& schema, const std::string& file) {
  for (const KeySpec& spec : schema.keys()) {
    if (!spec.required || job.has(spec.key)) continue;
    std::string message = file + ": " + spec.key + ": missing: " + spec.help;
    if (!spec.choices.empty()) message += "; one of " + config::listed(spec.choices);
    return invalid(message);
  }
  return {};
}

/// Fills in defaults, in the order in which keys depend on each other: a default is set after the keys that it depends on.
void fill_defaults(Config& job, const Schema& schema, const Request& request) {
  const bool several = request.tasks.value_or(job.get_or<Int>("job.workers", 1)) > 1;
  if (!job.has("strategy.name")) job.set("strategy.name", std::string(several ? "all_reduce" : "single"));
  for (const KeySpec& spec : schema.keys())
    if (spec.fallback) fill_default(job, schema, spec.key, *spec.fallback);
  if (request.tasks)
    job.set("job.workers", std::max<Int>(1, *request.tasks - job.get_or<Int>("strategy.servers", 0)),
            {"the engine's tasks", 0});
  const Int workers = job.get<Int>("job.workers");
  model::fill_model(job, schema);
  update::fill_optimizer(job, schema);
  if (!job.has("train.slices") && request.slices) job.set("train.slices", *request.slices);
  if (!job.has("train.slices")) {
    const bool split = job.get<std::string>("strategy.name") == "all_reduce" ||
                       job.get_or("strategy.consistency", std::string()) == "sync";
    job.set("train.slices", split ? workers : Int{1});
  }
  if (!job.has("job.threads") && request.threads) job.set("job.threads", *request.threads);
  if (!job.has("job.threads") && request.cores > 0)
    job.set("job.threads",
            request.wanted_threads > 0 ? Int{request.wanted_threads} : std::max<Int>(1, request.cores / workers));
}

/// Makes the folder in train.resume absolute. Like other paths it is relative to the job file's folder.
void find_resume_folder(Config& job) {
  const auto folder = job.find<std::string>("train.resume");
  if (!folder || *folder == "auto" || *folder == "off") return;
  const Location where = job.entries().find("train.resume")->second.where;
  const std::filesystem::path base = where.line > 0 ? std::filesystem::path(where.file).parent_path() : "";
  job.set("train.resume", std::filesystem::absolute(base / *folder).lexically_normal().string(), where);
}

/// Checks keys that contradict each other, and returns the first error found. invalid, naming place, key and fix.
Status check_job(const Config& job, const Schema& schema) {
  COHAUL_TRY(strategy::check_strategy(job));
  for (const auto& [key, entry] : job.entries())
    if (const auto spec = schema.spec_of(key)) COHAUL_TRY(check_unread(job, *spec));
  COHAUL_TRY(job::check_processes(job));
  COHAUL_TRY(train::check_length(job));
  COHAUL_TRY(data::check_data(job));
  COHAUL_TRY(train::check_run(job));
  COHAUL_TRY(update::check_optimizer(job));
  COHAUL_TRY(update::check_schedule(job));
  return train::check_slices(job);
}

Result<Config> finish(Entries entries, const std::string& file, const Schema& schema, const ReadOptions& options,
                      const Request& request) {
  for (const std::string& assignment : request.sets) COHAUL_TRY(apply_set(entries, assignment, schema, options));
  if (request.workers) {
    Entry entry{*request.workers, {"--workers", 0}};
    if (Status s = check_value(*schema.find("job.workers"), entry.value); !s.ok())
      return mistake("job.workers", entry, s.message());
    entries.insert_or_assign("job.workers", std::move(entry));
  }
  Config job(std::move(entries), file);
  COHAUL_TRY(check_required(job, schema, file));
  find_resume_folder(job);
  fill_defaults(job, schema, request);
  COHAUL_TRY(check_job(job, schema));
  return job;
}

}  // namespace

Result<Config> resolve(const Request& request) {
  const Schema schema = job_schema(request.own_program);
  const ReadOptions options{.free_model_keys = request.own_program};
  COHAUL_ASSIGN(Entries entries, read_job(request.job_file, schema, options));
  return finish(std::move(entries), request.job_file, schema, options, request);
}

Result<Config> resolve_text(std::string_view toml, const std::string& file, const Request& request) {
  const Schema schema = job_schema(request.own_program);
  const ReadOptions options{.free_model_keys = request.own_program};
  COHAUL_ASSIGN(Entries entries, parse_job(toml, file, schema, options));
  return finish(std::move(entries), file, schema, options, request);
}

}  // namespace cohaul::cli
