#include "cohaul/config/job_checks.h"

#include <algorithm>

namespace cohaul::config {
namespace {

using Int = std::int64_t;

std::string text(Int v) { return std::to_string(v); }

Status check_amount(const Config& job) {
  const bool steps = job.has("train.steps"), epochs = job.has("train.epochs");
  if (steps && epochs)
    return job.mistake("train.epochs",
                       "train.steps is set too (" + job.where("train.steps") + "); keep one of the two");
  if (!steps && !epochs)
    return job.mistake("train.steps", "missing, as is train.epochs; set one of the two: how long to train");
  return {};
}

Status check_checkpoints(const Config& job) {
  const bool resumes = job.set_by_user("train.resume") && job.get<std::string>("train.resume") != "off";
  if (!job.has("train.checkpoint")) {
    for (const char* key : {"train.checkpoint_every", "train.keep"})
      if (job.set_by_user(key))
        return job.mistake(key, "is about checkpoints, and train.checkpoint is not set: set it to their folder");
    if (!resumes) return {};
    if (job.get<std::string>("train.resume") == "auto")
      return job.mistake("train.resume", "there is no train.checkpoint to go on from; set it, or give a folder here");
  }
  return {};
}

Status check_evaluations(const Config& job) {
  if (job.set_by_user("train.use_ema") && job.get<bool>("train.use_ema") && job.get<double>("train.ema") == 0)
    return job.mistake("train.use_ema", "is about averages, and train.ema is not set: set it, e.g. to 0.999");
  const bool best = job.get<bool>("train.keep_best");
  if (!job.has("train.eval_every")) {
    for (const char* key : {"train.patience", "train.keep_best"})
      if (job.set_by_user(key) && (best || std::string_view(key) == "train.patience"))
        return job.mistake(key,
                           "is about evaluations in the middle of training, and train.eval_every is not set: set it to "
                           "a number of updates");
    return {};
  }
  if (job.get_or("strategy.consistency", std::string("sync")) != "sync")
    return job.mistake("train.eval_every",
                       "evaluates after steps that all workers count alike, and strategy.consistency = " +
                           job.get<std::string>("strategy.consistency") + " has none; remove the key");
  if (best && job.get<std::string>("strategy.name") == "tensor")
    return job.mistake("train.keep_best",
                       "with strategy.name = tensor each worker has a part of the parameters, and the best are not "
                       "kept yet; remove the key");
  return {};
}

Status check_watch(const Config& job) {
  if (job.get<Int>("train.watch_gradients") == 0) return {};
  const auto consistency = job.get_or("strategy.consistency", std::string("sync"));
  const bool split = job.get<std::string>("strategy.name") == "tensor";
  if (consistency == "sync" && !split) return {};
  return job.mistake("train.watch_gradients",
                     "tells norms of the whole batch's gradients, which nobody has with " +
                         (split ? std::string("strategy.name = tensor") : "strategy.consistency = " + consistency) +
                         "; remove the key, or use single, all_reduce or synchronous servers");
}

Status check_data(const Config& job) {
  const auto name = job.get<std::string>("data.name");
  if (name == "fashion-mnist" || job.has("data.path")) return {};
  return job.mistake("data.path", "missing; " + name + " is read from a folder of IDX files: set data.path to it");
}

/// Groups count from 0, and each says whose parameters it is about.
Status check_groups(const Config& job) {
  const std::string prefix = "optimizer.group.";
  for (const auto& [key, entry] : job.entries()) {
    if (!key.starts_with(prefix)) continue;
    const Int number = *parse_number<Int>(key.substr(prefix.size(), key.find('.', prefix.size()) - prefix.size()));
    for (Int g = 0; g <= number; ++g) {
      const std::string match = prefix + text(g) + ".match";
      if (!job.has(match))
        return job.mistake(match, "missing: patterns of parameters' names, such as [\"*.bias\"], because " + key +
                                      " is set (" + entry.where.text() + ")");
    }
  }
  return {};
}

Status check_optimizer(const Config& job) {
  COHAUL_TRY(check_groups(job));
  if (job.get_or("optimizer.clip_norm", 0.0) > 0 && job.get_or("optimizer.clip_value", 0.0) > 0)
    return job.mistake("optimizer.clip_value", "clips as optimizer.clip_norm does (" +
                                                   job.where("optimizer.clip_norm") + "); choose one of them");
  if (!job.get_or("optimizer.nesterov", false)) return {};
  if (job.get_or("optimizer.momentum", 0.0) <= 0)
    return job.mistake("optimizer.nesterov", "needs momentum; set optimizer.momentum above 0");
  if (job.get_or("optimizer.dampening", 0.0) != 0)
    return job.mistake("optimizer.nesterov",
                       "allows no dampening; remove optimizer.dampening (" + job.where("optimizer.dampening") + ")");
  return {};
}

Status check_schedule(const Config& job) {
  const auto name = job.get<std::string>("schedule.name");
  const auto missing = [&](const char* key, const char* what) {
    return job.mistake(key, "missing; " + name + " needs " + what);
  };
  if ((name == "step" || name == "restarts") && !job.has("schedule.every"))
    return missing("schedule.every", "a number of updates, e.g. schedule.every = 1000");
  if (name == "plateau" && !job.has("train.eval_every"))
    return job.mistake(
        "train.eval_every",
        "missing; schedule.name = plateau follows the evaluations of the test set: set it to a number of updates");
  if (name != "multistep") return {};
  const auto list = job.find<std::string>("schedule.milestones");
  if (!list) return missing("schedule.milestones", "numbers of updates, e.g. schedule.milestones = [1000, 2000]");
  const std::vector<Int> at = *integers(*list);
  if (at.front() < 1 || !std::ranges::is_sorted(at))
    return job.mistake("schedule.milestones", "must be numbers of updates from 1 on, in ascending order");
  return {};
}

Status check_strategy(const Config& job) {
  const auto name = job.get<std::string>("strategy.name");
  const Int workers = job.get<Int>("job.workers");
  if (name == "single" && workers > 1) {
    return job.mistake("strategy.name", "one worker only, and job.workers is " + text(workers) + " (" +
                                            job.where("job.workers") +
                                            "); choose all_reduce, parameter_server or tensor, or one worker");
  }
  if (job.has("strategy.backup_workers"))
    return job.mistake("strategy.backup_workers", "backup workers are not available yet; remove the key");
  if (job.get_or("strategy.consistency", std::string()) == "bounded" && !job.has("strategy.staleness"))
    return job.mistake(
        "strategy.staleness",
        "missing; bounded needs the number of steps that a worker may run ahead, e.g. strategy.staleness = 3");
  return {};
}

Status check_slices(const Config& job) {
  const Int slices = job.get<Int>("train.slices"), batch = job.get<Int>("train.batch"),
            workers = job.get<Int>("job.workers");
  const auto strategy = job.get<std::string>("strategy.name");
  if (slices > batch) {
    if (job.set_by_user("train.slices"))
      return job.mistake("train.slices", "more slices than train.batch (" + text(batch) + "); a slice needs a sample");
    return job.mistake("train.batch",
                       "smaller than the number of workers (" + text(workers) + "), each of which needs a sample");
  }
  if (strategy == "tensor" && slices > 1)
    return job.mistake("train.slices", "tensor computes each batch whole on every worker; remove the key");
  const bool synchronous = strategy == "all_reduce" || job.get_or("strategy.consistency", std::string()) == "sync";
  if (!synchronous || slices >= workers) return {};
  return job.mistake("train.slices", "fewer than the workers (" + text(workers) + "), each of which needs one; give " +
                                         text(workers) + " or more");
}

}  // namespace

bool is_read(const Config& job, const KeySpec& spec) {
  if (spec.only.key.empty()) return true;
  const auto value = job.find<std::string>(spec.only.key);
  return value && std::ranges::find(spec.only.values, *value) != spec.only.values.end();
}

Status check_unread(const Config& job, const KeySpec& spec) {
  if (!job.set_by_user(spec.key) || is_read(job, spec)) return {};
  const std::string wanted = spec.only.in_words();
  const auto value = job.find<std::string>(spec.only.key);
  return job.mistake(spec.key, "is read only with " + wanted + ", and " + spec.only.key +
                                   (value ? " is " + *value : std::string(" is not set")) +
                                   "; remove the key, or set " + wanted);
}

Status check_job(const Config& job, const Schema& schema) {
  COHAUL_TRY(check_strategy(job));
  for (const auto& [key, entry] : job.entries())
    if (const auto spec = schema.spec_of(key)) COHAUL_TRY(check_unread(job, *spec));
  COHAUL_TRY(check_amount(job));
  COHAUL_TRY(check_data(job));
  COHAUL_TRY(check_checkpoints(job));
  COHAUL_TRY(check_evaluations(job));
  COHAUL_TRY(check_watch(job));
  COHAUL_TRY(check_optimizer(job));
  COHAUL_TRY(check_schedule(job));
  return check_slices(job);
}

}  // namespace cohaul::config
