#include "cohaul/config/resolve.h"

#include <algorithm>
#include <filesystem>

#include "cohaul/config/job_checks.h"
#include "cohaul/config/keys.h"

namespace cohaul::config {
namespace {

using Int = std::int64_t;

Status check_required(const Config& job, const Schema& schema, const std::string& file) {
  for (const KeySpec& spec : schema.keys()) {
    if (!spec.required || job.has(spec.key)) continue;
    std::string message = file + ": " + spec.key + ": missing: " + spec.help;
    if (!spec.choices.empty()) message += "; one of " + join(spec.choices);
    return invalid(message);
  }
  return {};
}

/// Defaults that are each rule's own: torch.optim's, and those of Lion, LARS and LAMB as their authors give them.
void fill_optimizer(Config& job, const Schema& schema) {
  const auto rule = job.get<std::string>("optimizer.name");
  const auto is = [&](std::string_view name) { return rule == name; };
  const auto fill = [&](const char* key, double value) {
    if (!job.has(key) && is_read(job, *schema.find(key))) job.set(key, value);
  };
  fill("optimizer.lr", is("adagrad") || is("rmsprop") ? 1e-2 : is("lion") ? 1e-4 : is("lars") ? 1.0 : 1e-3);
  fill("optimizer.momentum", is("lars") ? 0.9 : 0.0);
  fill("optimizer.weight_decay", is("adamw") || is("lamb") ? 0.01 : is("lars") ? 5e-4 : 0.0);
  fill("optimizer.beta2", is("lion") ? 0.99 : 0.999);
  fill("optimizer.eps", is("adagrad") ? 1e-10 : is("lamb") ? 1e-6 : 1e-8);
}

/// Sizes whose defaults are each model's own.
void fill_model(Config& job, const Schema& schema) {
  const bool mlp = job.get<std::string>("model.name") == "mlp";
  const auto fill = [&](const char* key, Int value) {
    const KeySpec* spec = schema.find(key);
    if (spec != nullptr && !job.has(key) && is_read(job, *spec)) job.set(key, value);
  };
  fill("model.width", mlp ? 1024 : 64);
  fill("model.depth", mlp ? 2 : 30);
}

/// In the order of the keys' dependence: a key's default counts once the key that it depends on has its value.
void fill_defaults(Config& job, const Schema& schema, const Request& request) {
  const Int workers = job.get_or<Int>("job.workers", 1);
  if (!job.has("strategy.name")) job.set("strategy.name", std::string(workers > 1 ? "all_reduce" : "single"));
  for (const KeySpec& spec : schema.keys())
    if (spec.fallback && !job.has(spec.key) && is_read(job, spec)) job.set(spec.key, *spec.fallback);
  fill_model(job, schema);
  fill_optimizer(job, schema);
  if (!job.has("train.slices") && request.slices) job.set("train.slices", *request.slices);
  if (!job.has("train.slices")) {
    const bool split = job.get<std::string>("strategy.name") == "all_reduce" ||
                       job.get_or("strategy.consistency", std::string()) == "sync";
    job.set("train.slices", split ? workers : Int{1});
  }
  if (!job.has("job.threads"))
    job.set("job.threads", request.threads.value_or(std::max<Int>(1, request.cores / workers)));
}

/// A folder is relative to that of the job file, as other paths are.
void find_resume_folder(Config& job) {
  const auto folder = job.find<std::string>("train.resume");
  if (!folder || *folder == "auto" || *folder == "off") return;
  const Location where = job.entries().find("train.resume")->second.where;
  const std::filesystem::path base = where.line > 0 ? std::filesystem::path(where.file).parent_path() : "";
  job.set("train.resume", std::filesystem::absolute(base / *folder).lexically_normal().string(), where);
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
  const Schema schema(job_keys(request.own_program));
  const ReadOptions options{.free_model_keys = request.own_program};
  COHAUL_ASSIGN(Entries entries, read_job(request.job_file, schema, options));
  return finish(std::move(entries), request.job_file, schema, options, request);
}

Result<Config> resolve_text(std::string_view toml, const std::string& file, const Request& request) {
  const Schema schema(job_keys(request.own_program));
  const ReadOptions options{.free_model_keys = request.own_program};
  COHAUL_ASSIGN(Entries entries, parse_job(toml, file, schema, options));
  return finish(std::move(entries), file, schema, options, request);
}

}  // namespace cohaul::config
