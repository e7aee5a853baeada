#include "cohaul/config/keys.h"

#include <string>

namespace cohaul::config {
namespace {

using std::string_literals::operator""s;

constexpr std::int64_t operator""_i(unsigned long long v) { return static_cast<std::int64_t>(v); }

const OnlyWith kOfServers{"strategy.name", {"parameter_server"}};
const OnlyWith kOfSgd{"optimizer.name", {"sgd"}};
const OnlyWith kOfAdam{"optimizer.name", {"adam", "adamw"}};
const OnlyWith kOfAdagrad{"optimizer.name", {"adagrad"}};
const OnlyWith kOfRmsprop{"optimizer.name", {"rmsprop"}};

OnlyWith with_schedule(std::vector<std::string> names) { return {"schedule.name", std::move(names)}; }

std::vector<KeySpec> model_keys(bool own_program) {
  std::vector<KeySpec> keys{
      {.key = "model.name",
       .type = Type::string,
       .help = "the model to train",
       .required = true,
       .aliases = {"model", "type", "arch", "net"}},
      {.key = "model.init",
       .type = Type::string,
       .help = "how parameters start: as PyTorch's layers do, or all 0",
       .fallback = "default"s,
       .choices = {"default", "zero"},
       .aliases = {"initialization", "initializer"}},
  };
  if (own_program) return keys;
  keys.front().choices = {"softmax", "mlp", "cnn", "resnet18", "deep"};
  keys.push_back({.key = "model.width",
                  .type = Type::integer,
                  .help =
                      "units of a hidden layer (mlp 1024; deep 64), channels of the first stage (resnet18 64); with "
                      "--program any model.* is the program's",
                  .min = 1,
                  .max = 1 << 20,
                  .aliases = {"hidden", "hidden_size", "hidden_units", "channels"},
                  .only = {"model.name", {"mlp", "resnet18", "deep"}}});
  keys.push_back({.key = "model.depth",
                  .type = Type::integer,
                  .help = "hidden layers (mlp 2; deep 30)",
                  .min = 1,
                  .max = 1000,
                  .aliases = {"layers", "num_layers", "hidden_layers"},
                  .only = {"model.name", {"mlp", "deep"}}});
  keys.push_back({.key = "model.residual",
                  .type = Type::boolean,
                  .help = "each layer adds to its input; false: it takes its place",
                  .fallback = true,
                  .aliases = {"skip", "shortcut", "residuals"},
                  .only = {"model.name", {"deep"}}});
  keys.push_back({.key = "model.norm",
                  .type = Type::boolean,
                  .help = "a layer norm before each ReLU",
                  .fallback = true,
                  .aliases = {"layer_norm", "normalize", "norms"},
                  .only = {"model.name", {"deep"}}});
  return keys;
}

std::vector<KeySpec> data_keys() {
  return {
      {.key = "data.name",
       .type = Type::string,
       .help = "the data set",
       .required = true,
       .choices = {"fashion-mnist", "mnist", "idx"},
       .aliases = {"dataset", "data", "data_set"}},
      {.key = "data.path",
       .type = Type::path,
       .help = "its folder of four IDX files, plain or gzipped; mnist and idx need it",
       .aliases = {"dir", "directory", "folder", "root", "data_dir"}},
      {.key = "data.shuffle",
       .type = Type::boolean,
       .help = "a new order each epoch; false: step s takes samples (s * batch + i) mod n",
       .fallback = true},
  };
}

std::vector<KeySpec> train_keys() {
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
       .fallback = "mean"s,
       .choices = {"mean", "worker0", "own"}},
      {.key = "train.seed",
       .type = Type::integer,
       .help = "the seed of everything random",
       .fallback = 0_i,
       .min = 0,
       .max = 9.2e18,
       .aliases = {"random_seed"}},
      {.key = "train.log_every",
       .type = Type::integer,
       .help = "steps between printed losses",
       .fallback = 100_i,
       .min = 1,
       .max = 1e15,
       .aliases = {"log_interval", "log_steps", "print_every"}},
      {.key = "train.watch_gradients",
       .type = Type::integer,
       .help =
           "updates between two tables of the gradients' norms, layer by layer, beside that of the first update; 0: "
           "none",
       .fallback = 0_i,
       .min = 0,
       .max = 1e15,
       .aliases = {"watch", "grad_norm", "gradient_norms", "log_gradients"}},
  };
}

/// What happens beside the steps: evaluations, files, checkpoints.
std::vector<KeySpec> training_run_keys() {
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
       .max = kBelowOne,
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
       .fallback = 3_i,
       .min = 1,
       .max = 1e6,
       .aliases = {"keep_checkpoints", "max_to_keep", "save_total_limit"}},
      {.key = "train.resume",
       .type = Type::string,
       .help =
           "auto: goes on from the newest good checkpoint of train.checkpoint, if there is one; off: starts anew; or "
           "the folder of checkpoints, or of one of them, to go on from",
       .fallback = "auto"s,
       .aliases = {"resume_from", "restore"}},
  };
}

std::vector<KeySpec> optimizer_keys() {
  return {
      {.key = "optimizer.name",
       .type = Type::string,
       .help = "the update rule, as PyTorch defines it; lion, lars and lamb as their authors do",
       .fallback = "sgd"s,
       .choices = {"sgd", "adam", "adamw", "adagrad", "rmsprop", "lion", "lars", "lamb"},
       .aliases = {"optimizer", "rule"}},
      {.key = "optimizer.lr",
       .type = Type::real,
       .help = "learning rate (0.001; adagrad, rmsprop 0.01; lion 0.0001; lars 1)",
       .min = 0,
       .aliases = {"learning_rate", "eta", "rate"}},
      {.key = "optimizer.momentum",
       .type = Type::real,
       .help = "momentum of the gradients (0; lars 0.9)",
       .min = 0,
       .only = {"optimizer.name", {"sgd", "rmsprop", "lars"}}},
      {.key = "optimizer.dampening", .type = Type::real, .help = "of the momentum", .fallback = 0.0, .only = kOfSgd},
      {.key = "optimizer.nesterov",
       .type = Type::boolean,
       .help = "Nesterov's momentum",
       .fallback = false,
       .only = kOfSgd},
      {.key = "optimizer.weight_decay",
       .type = Type::real,
       .help = "decay of the parameters (0; adamw, lamb 0.01; lars 0.0005); apart from the gradient in adamw, lion and "
               "lamb",
       .min = 0,
       .aliases = {"l2", "decay", "wd"}},
      {.key = "optimizer.clip_norm",
       .type = Type::real,
       .help = "largest norm of all gradients together, as clip_grad_norm_; 0: not clipped; asynchronous modes clip "
               "each push",
       .fallback = 0.0,
       .min = 0,
       .aliases = {"max_norm", "grad_clip", "clip_grad_norm", "gradient_clip", "max_grad_norm"}},
      {.key = "optimizer.clip_value",
       .type = Type::real,
       .help = "largest absolute value of a gradient's element, as clip_grad_value_; 0: not clipped",
       .fallback = 0.0,
       .min = 0,
       .aliases = {"clip_grad_value", "grad_clip_value"}},
      {.key = "optimizer.non_finite",
       .type = Type::string,
       .help = "a gradient that is infinite or not a number: update as PyTorch does, end with its name, or leave the "
               "update out",
       .fallback = "apply"s,
       .choices = {"apply", "stop", "skip"},
       .aliases = {"nan", "nan_policy", "on_nan", "skip_nan"}},
  };
}

std::vector<KeySpec> adaptive_keys() {
  return {
      {.key = "optimizer.beta1",
       .type = Type::real,
       .help = "decay of the mean of gradients",
       .fallback = 0.9,
       .min = 0,
       .max = kBelowOne,
       .aliases = {"betas", "beta"},
       .only = {"optimizer.name", {"adam", "adamw", "lion", "lamb"}}},
      {.key = "optimizer.beta2",
       .type = Type::real,
       .help = "decay of the mean square; of the momentum in lion (0.999; lion 0.99)",
       .min = 0,
       .max = kBelowOne,
       .only = {"optimizer.name", {"adam", "adamw", "lion", "lamb"}}},
      {.key = "optimizer.eps",
       .type = Type::real,
       .help = "added to the root (1e-8; adagrad 1e-10; lamb 1e-6)",
       .min = 0,
       .aliases = {"epsilon"},
       .only = {"optimizer.name", {"adam", "adamw", "adagrad", "rmsprop", "lamb"}}},
      {.key = "optimizer.amsgrad",
       .type = Type::boolean,
       .help = "divide by the largest mean square so far",
       .fallback = false,
       .only = kOfAdam},
      {.key = "optimizer.lr_decay",
       .type = Type::real,
       .help = "the rate is divided by 1 + (t - 1) of these",
       .fallback = 0.0,
       .min = 0,
       .only = kOfAdagrad},
      {.key = "optimizer.initial_accumulator",
       .type = Type::real,
       .help = "from which the squares are summed",
       .fallback = 0.0,
       .min = 0,
       .aliases = {"initial_accumulator_value"},
       .only = kOfAdagrad},
      {.key = "optimizer.alpha",
       .type = Type::real,
       .help = "decay of the mean square",
       .fallback = 0.99,
       .min = 0,
       .aliases = {"rho", "decay_rate"},
       .only = kOfRmsprop},
      {.key = "optimizer.centered",
       .type = Type::boolean,
       .help = "divide by the deviation, not by the mean square",
       .fallback = false,
       .only = kOfRmsprop},
      {.key = "optimizer.trust_ratio",
       .type = Type::boolean,
       .help = "whether a parameter's rate is multiplied with the ratio of its norm to that of what moves it; usually "
               "false in a group of biases and norms",
       .fallback = true,
       .aliases = {"adapt", "layer_adaptation"},
       .only = {"optimizer.name", {"lars", "lamb"}}},
      {.key = "optimizer.trust_coefficient",
       .type = Type::real,
       .help = "what that ratio is multiplied with",
       .fallback = 0.001,
       .min = 0,
       .aliases = {"trust", "eeta"},
       .only = {"optimizer.name", {"lars"}}},
  };
}

/// What a [[optimizer.group]] may set otherwise than the rest.
std::vector<KeySpec> group_keys() {
  std::vector<KeySpec> keys{
      {.key = "optimizer.group.N.match",
       .type = Type::strings,
       .help = "patterns of the parameters' names that group N, a [[optimizer.group]], is about: [\"*.bias\", "
               "\"head.*\"]; the first group that matches a parameter has it; with --set *.bias,head.*",
       .aliases = {"params", "names", "parameters"}}};
  for (auto&& of_rule : {optimizer_keys(), adaptive_keys()}) {
    for (KeySpec spec : of_rule) {
      const std::string name = spec.key.substr(std::string("optimizer.").size());
      if (name == "name" || name == "clip_norm" || name == "clip_value" || name == "non_finite") continue;
      spec.help = spec.key + " of the group";
      spec.key = "optimizer.group.N." + name;
      spec.fallback.reset();
      spec.aliases.clear();
      keys.push_back(std::move(spec));
    }
  }
  return keys;
}

std::vector<KeySpec> schedule_keys() {
  constexpr double kUpdatesMax = 1e15;
  return {
      {.key = "schedule.name",
       .type = Type::string,
       .help = "how the learning rate changes with the number of updates, as in torch.optim.lr_scheduler; inverse_sqrt "
               "as the square root that Transformers are trained with; plateau (ReduceLROnPlateau) with evaluations",
       .fallback = "constant"s,
       .choices = {"constant", "step", "multistep", "exponential", "cosine", "restarts", "polynomial", "inverse_sqrt",
                   "one_cycle", "plateau"},
       .aliases = {"schedule", "lr_schedule", "scheduler", "lr_scheduler", "policy"}},
      {.key = "schedule.warmup_steps",
       .type = Type::integer,
       .help = "updates in which the rate rises in a line, before the schedule begins",
       .fallback = 0_i,
       .min = 0,
       .max = kUpdatesMax,
       .aliases = {"warmup", "warmup_updates", "num_warmup_steps"}},
      {.key = "schedule.steps",
       .type = Type::integer,
       .help = "updates after the warm-up until the rate is at its end, where it stays (to the end of the run)",
       .min = 1,
       .max = kUpdatesMax,
       .aliases = {"t_max", "total_iters", "total_steps", "T_max", "length"},
       .only = with_schedule({"cosine", "polynomial", "one_cycle"})},
      {.key = "schedule.every",
       .type = Type::integer,
       .help = "updates between two changes, or of the first period",
       .min = 1,
       .max = kUpdatesMax,
       .aliases = {"step_size", "t_0", "T_0", "period"},
       .only = with_schedule({"step", "restarts"})},
      {.key = "schedule.milestones",
       .type = Type::integers,
       .help = "updates at which the rate changes: [1000, 2000]; with --set 1000,2000",
       .aliases = {"boundaries", "steps_at"},
       .only = with_schedule({"multistep"})},
  };
}

std::vector<KeySpec> schedule_shape_keys() {
  return {
      {.key = "schedule.gamma",
       .type = Type::real,
       .help = "what the rate is multiplied with",
       .fallback = 0.1,
       .min = 0,
       .only = with_schedule({"step", "multistep", "exponential"})},
      {.key = "schedule.min",
       .type = Type::real,
       .help = "smallest rate, as a part of optimizer.lr",
       .fallback = 0.0,
       .min = 0,
       .max = 1,
       .aliases = {"eta_min", "min_lr", "min_lr_ratio"},
       .only = with_schedule({"cosine", "restarts", "plateau"})},
      {.key = "schedule.stretch",
       .type = Type::integer,
       .help = "times that each period is longer than the one before",
       .fallback = 1_i,
       .min = 1,
       .max = 1000,
       .aliases = {"t_mult", "T_mult"},
       .only = with_schedule({"restarts"})},
      {.key = "schedule.power",
       .type = Type::real,
       .help = "of the polynomial",
       .fallback = 1.0,
       .min = 0,
       .only = with_schedule({"polynomial"})},
      {.key = "schedule.pct_start",
       .type = Type::real,
       .help = "part of the cycle in which the rate rises",
       .fallback = 0.3,
       .min = 0,
       .max = kBelowOne,
       .above_min = true,
       .only = with_schedule({"one_cycle"})},
      {.key = "schedule.div_factor",
       .type = Type::real,
       .help = "the first rate is optimizer.lr, the highest, divided by this",
       .fallback = 25.0,
       .min = 1,
       .only = with_schedule({"one_cycle"})},
      {.key = "schedule.final_div_factor",
       .type = Type::real,
       .help = "the first rate divided by this is the last",
       .fallback = 1e4,
       .min = 1,
       .only = with_schedule({"one_cycle"})},
  };
}

std::vector<KeySpec> plateau_keys() {
  return {
      {.key = "schedule.factor",
       .type = Type::real,
       .help = "what the rate is multiplied with when evaluations get no better",
       .fallback = 0.1,
       .min = 0,
       .max = kBelowOne,
       .only = with_schedule({"plateau"})},
      {.key = "schedule.patience",
       .type = Type::integer,
       .help = "evaluations in a row that may get no better before the rate falls",
       .fallback = 10_i,
       .min = 0,
       .max = 1e15,
       .only = with_schedule({"plateau"})},
      {.key = "schedule.threshold",
       .type = Type::real,
       .help = "part of the smallest loss by which one must be smaller to be better",
       .fallback = 1e-4,
       .min = 0,
       .max = kBelowOne,
       .only = with_schedule({"plateau"})},
      {.key = "schedule.cooldown",
       .type = Type::integer,
       .help = "evaluations after a fall that do not count",
       .fallback = 0_i,
       .min = 0,
       .max = 1e15,
       .only = with_schedule({"plateau"})},
  };
}

std::vector<KeySpec> strategy_keys() {
  return {
      {.key = "strategy.name",
       .type = Type::string,
       .help = "where parameters live and how gradients travel (single; all_reduce with more workers)",
       .choices = {"single", "all_reduce", "parameter_server", "tensor"},
       .aliases = {"strategy", "mode"}},
      {.key = "strategy.servers",
       .type = Type::integer,
       .help = "server processes",
       .fallback = 1_i,
       .min = 1,
       .max = 64,
       .aliases = {"num_servers", "ps", "server", "n_servers"},
       .only = kOfServers},
      {.key = "strategy.consistency",
       .type = Type::string,
       .help = "when a push is applied: with all of its step, at once, or at once within a bound",
       .fallback = "sync"s,
       .choices = {"sync", "async", "bounded"},
       .aliases = {"sync", "async", "mode"},
       .only = kOfServers},
      {.key = "strategy.staleness",
       .type = Type::integer,
       .help = "pushes that a worker may be ahead of the slowest; bounded needs it",
       .min = 0,
       .max = 1e9,
       .aliases = {"bound", "max_staleness", "staleness_bound"},
       .only = {"strategy.consistency", {"bounded"}}},
      {.key = "strategy.backup_workers",
       .type = Type::integer,
       .help = "workers that a step need not wait for (not available yet)",
       .min = 0,
       .max = 1024,
       .aliases = {"backups"},
       .only = kOfServers},
  };
}

std::vector<KeySpec> run_keys() {
  return {
      {.key = "job.workers",
       .type = Type::integer,
       .help = "worker processes; --workers N is the same",
       .fallback = 1_i,
       .min = 1,
       .max = 1024,
       .aliases = {"num_workers", "world_size", "nproc", "processes", "n_workers"}},
      {.key = "job.threads",
       .type = Type::integer,
       .help = "threads of a worker (cores / workers, at least 1)",
       .min = 1,
       .max = 1024,
       .aliases = {"num_threads", "n_threads"}},
      {.key = "job.transport",
       .type = Type::string,
       .help = "how frames travel: arena is the shared memory of one host; auto takes it where it can",
       .fallback = "auto"s,
       .choices = {"auto", "arena", "tcp"},
       .aliases = {"backend"}},
      {.key = "job.address",
       .type = Type::string,
       .help = "where to listen, with or without :port",
       .fallback = "127.0.0.1"s,
       .aliases = {"host", "listen", "master_addr", "ip"}},
      {.key = "job.device", .type = Type::string, .help = "where tensors live", .fallback = "cpu"s, .choices = {"cpu"}},
      {.key = "job.logs",
       .type = Type::path,
       .help = "folder of logs, one a process (a temporary one, kept after a failure)",
       .aliases = {"log_dir", "log", "logdir"}},
      {.key = "job.peer_timeout_s",
       .type = Type::real,
       .help = "no heartbeat for so long: lost; a slow worker still sends them",
       .fallback = 10.0,
       .min = 0,
       .max = 1e6,
       .above_min = true,
       .aliases = {"timeout", "heartbeat_timeout", "peer_timeout"}},
      {.key = "job.step_timeout_s",
       .type = Type::real,
       .help = "alive for so long, but without progress",
       .fallback = 600.0,
       .min = 0,
       .max = 1e6,
       .above_min = true,
       .aliases = {"step_timeout"}},
      {.key = "job.join_timeout_s",
       .type = Type::real,
       .help = "started, but not joined for so long",
       .fallback = 60.0,
       .min = 0,
       .max = 1e6,
       .above_min = true,
       .aliases = {"join_timeout"}},
      {.key = "job.stop_grace_s",
       .type = Type::real,
       .help = "how long after SIGTERM or Ctrl-C workers may take to write a checkpoint and end, with train.checkpoint",
       .fallback = 25.0,
       .min = 0,
       .max = 1e6,
       .aliases = {"stop_grace", "grace", "grace_period"}},
  };
}

}  // namespace

std::vector<KeySpec> job_keys(bool own_program) {
  std::vector<KeySpec> all;
  for (auto&& keys :
       {model_keys(own_program), data_keys(), train_keys(), training_run_keys(), optimizer_keys(), adaptive_keys(),
        group_keys(), schedule_keys(), schedule_shape_keys(), plateau_keys(), strategy_keys(), run_keys()})
    all.insert(all.end(), keys.begin(), keys.end());
  return all;
}

}  // namespace cohaul::config
