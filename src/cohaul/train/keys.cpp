#include "cohaul/train/keys.h"

#include <string>

namespace cohaul::train {
namespace {

using config::Config;
using config::KeySpec;
using config::Type;
using Int = std::int64_t;

/// Keys of a step, and of the number of steps.
std::vector<KeySpec> step_keys() {
  return {
      {.key = "train.batch",
       .type = Type::integer,
       .help = "samples per update: over all workers in synchronous modes, per push in asynchronous ones",
       .required = true,
       .min = 1,
       .max = 1 << 30,
       .aliases = {"batch_size", "batchsize", "bs", "global_batch"}},
      {.key = "train.steps",
       .type = Type::integer,
       .help = "updates of the parameters, over all workers; this or train.epochs",
       .min = 1,
       .max = 1e15,
       .aliases = {"iterations", "iters", "max_steps", "num_steps", "updates"}},
      {.key = "train.epochs",
       .type = Type::integer,
       .help = "passes over the data; this or train.steps",
       .min = 1,
       .max = 1e9,
       .aliases = {"num_epochs", "max_epochs"}},
      {.key = "train.slices",
       .type = Type::integer,
       .help = "parts of a batch, each its own forward and backward, at least as many as workers (one a worker in "
               "synchronous data-parallel modes, otherwise 1)",
       .min = 1,
       .max = 1 << 20,
       .aliases = {"micro_batches", "microbatches", "chunks", "accumulation_steps"}},
      {.key = "train.buffers",
       .type = Type::string,
       .help = "what becomes of the model's buffers (running means) in a synchronous step: the mean over its slices, "
               "worker 0's, or each worker's own",
       .fallback = "mean",
       .choices = {"mean", "worker0", "own"}},
      {.key = "train.seed",
       .type = Type::integer,
       .help = "the seed of everything random",
       .fallback = 0,
       .min = 0,
       .max = 9.2e18,
       .aliases = {"random_seed"}},
      {.key = "train.log_every",
       .type = Type::integer,
       .help = "steps between printed losses",
       .fallback = 100,
       .min = 1,
       .max = 1e15,
       .aliases = {"log_interval", "log_steps", "print_every"}},
      {.key = "train.watch_gradients",
       .type = Type::integer,
       .help =
           "updates between two tables of the gradients' norms, layer by layer, beside that of the first update; 0: "
           "none",
       .fallback = 0,
       .min = 0,
       .max = 1e15,
       .aliases = {"watch", "grad_norm", "gradient_norms", "log_gradients"}},
  };
}

/// Keys of what happens between steps: evaluations, files, checkpoints.
std::vector<KeySpec> run_keys() {
  return {
      {.key = "train.eval_every",
       .type = Type::integer,
       .help = "updates between two evaluations of the test set; without it only the end is evaluated",
       .min = 1,
       .max = 1e15,
       .aliases = {"eval_interval", "eval_steps", "evaluate_every", "validate_every", "val_interval"}},
      {.key = "train.patience",
       .type = Type::integer,
       .help = "evaluations in a row without a smaller loss, after which training ends",
       .min = 1,
       .max = 1e9,
       .aliases = {"early_stopping", "early_stopping_patience"}},
      {.key = "train.keep_best",
       .type = Type::boolean,
       .help =
           "whether the result, and train.save, are of the evaluation with the smallest loss instead of the last step",
       .fallback = false,
       .aliases = {"save_best", "best", "load_best_model_at_end"}},
      {.key = "train.ema",
       .type = Type::real,
       .help = "decay of an exponential moving average of the parameters, e.g. 0.999; 0: none",
       .fallback = 0.0,
       .min = 0,
       .max = config::kBelowOne,
       .aliases = {"ema_decay", "moving_average", "average_decay"}},
      {.key = "train.use_ema",
       .type = Type::boolean,
       .help = "whether evaluations, train.keep_best and train.save are of the averages that train.ema keeps",
       .fallback = true,
       .aliases = {"evaluate_ema", "save_ema"}},
      {.key = "train.init", .type = Type::path, .help = "safetensors file to start from", .aliases = {"load", "from"}},
      {.key = "train.save",
       .type = Type::path,
       .help = "safetensors file to write at the end",
       .aliases = {"output", "out", "save_path", "save_to"}},
      {.key = "train.checkpoint",
       .type = Type::path,
       .help = "folder of checkpoints, from which a run that was broken goes on; one is written when training ends",
       .aliases = {"checkpoint_dir", "checkpoints", "ckpt", "save_dir"}},
      {.key = "train.checkpoint_every",
       .type = Type::interval,
       .help = "updates between two checkpoints, or a time, as 10min; without it only the last one is written",
       .min = 1,
       .max = 1e15,
       .aliases = {"checkpoint_interval", "save_every", "save_interval", "save_steps"}},
      {.key = "train.keep",
       .type = Type::integer,
       .help = "checkpoints that stay, the newest",
       .fallback = 3,
       .min = 1,
       .max = 1e6,
       .aliases = {"keep_checkpoints", "max_to_keep", "save_total_limit"}},
      {.key = "train.resume",
       .type = Type::string,
       .help =
           "auto: goes on from the newest good checkpoint of train.checkpoint, if there is one; off: starts anew; or "
           "the folder of checkpoints, or of one of them, to go on from",
       .fallback = "auto",
       .aliases = {"resume_from", "restore"}},
  };
}

Status check_checkpoints(const Config& job) {
  const bool resumes = job.set_by_user("train.resume") && job.get<std::string>("train.resume") != "off";
  if (!job.has("train.checkpoint")) {
    for (const char* key : {"train.checkpoint_every", "train.keep"})
      if (job.set_by_user(key))
        return job.mistake(key, "is about checkpoints, and train.checkpoint is not set: set it to their folder");
    if (job.get<Int>("job.restarts") > 0)
      return job.mistake("job.restarts",
                         "the job would begin anew each time, since train.checkpoint is not set: set it to a folder");
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

}  // namespace

std::vector<KeySpec> train_keys() { return config::concatenate({step_keys(), run_keys()}); }

Status check_length(const Config& job) {
  const bool steps = job.has("train.steps"), epochs = job.has("train.epochs");
  if (steps && epochs)
    return job.mistake("train.epochs",
                       "train.steps is set too (" + job.where("train.steps") + "); keep one of the two");
  if (!steps && !epochs)
    return job.mistake("train.steps", "missing, as is train.epochs; set one of the two: how long to train");
  return {};
}

Status check_run(const Config& job) {
  COHAUL_TRY(check_checkpoints(job));
  COHAUL_TRY(check_evaluations(job));
  return check_watch(job);
}

Status check_slices(const Config& job) {
  const Int slices = job.get<Int>("train.slices"), batch = job.get<Int>("train.batch"),
            workers = job.get<Int>("job.workers");
  const auto strategy = job.get<std::string>("strategy.name");
  if (slices > batch) {
    if (job.set_by_user("train.slices"))
      return job.mistake("train.slices",
                         "more slices than train.batch (" + std::to_string(batch) + "); a slice needs a sample");
    return job.mistake("train.batch", "smaller than the number of workers (" + std::to_string(workers) +
                                          "), each of which needs a sample");
  }
  if (strategy == "tensor" && slices > 1)
    return job.mistake("train.slices", "tensor computes each batch whole on every worker; remove the key");
  const bool synchronous = strategy == "all_reduce" || job.get_or("strategy.consistency", std::string()) == "sync";
  if (!synchronous || slices >= workers) return {};
  return job.mistake("train.slices", "fewer than the workers (" + std::to_string(workers) +
                                         "), each of which needs one; give " + std::to_string(workers) + " or more");
}

}  // namespace cohaul::train
