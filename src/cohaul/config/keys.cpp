#include "cohaul/config/keys.h"

#include <string>

namespace cohaul::config {
namespace {

using std::string_literals::operator""s;

constexpr std::int64_t operator""_i(unsigned long long v) { return static_cast<std::int64_t>(v); }

const OnlyWith kOfServers{"strategy.name", {"parameter_server"}};
const OnlyWith kOfSgd{"optimizer.name", {"sgd"}};
const OnlyWith kOfAdam{"optimizer.name", {"adam", "adamw"}};

std::vector<KeySpec> model_keys(bool own_program) {
  std::vector<KeySpec> keys{
      {.key = "model.name",
       .type = Type::string,
       .help = "the model to train",
       .required = true,
       .aliases = {"model", "type", "arch", "net"}},
      {.key = "model.init",
       .type = Type::string,
       .help = "how parameters start",
       .fallback = "default"s,
       .choices = {"default", "zero"},
       .aliases = {"initialization", "initializer"}},
  };
  if (own_program) return keys;
  keys.front().choices = {"softmax", "mlp", "cnn"};
  keys.push_back({.key = "model.width",
                  .type = Type::integer,
                  .help = "units of a hidden layer",
                  .fallback = 1024_i,
                  .min = 1,
                  .max = 1 << 20,
                  .aliases = {"hidden", "hidden_size", "hidden_units"},
                  .only = {"model.name", {"mlp"}}});
  keys.push_back({.key = "model.depth",
                  .type = Type::integer,
                  .help = "hidden layers",
                  .fallback = 2_i,
                  .min = 1,
                  .max = 1000,
                  .aliases = {"layers", "num_layers", "hidden_layers"},
                  .only = {"model.name", {"mlp"}}});
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
       .help = "its folder of IDX files, plain or gzipped",
       .aliases = {"dir", "directory", "folder", "root", "data_dir"}},
      {.key = "data.shuffle", .type = Type::boolean, .help = "a new order each epoch", .fallback = true},
  };
}

std::vector<KeySpec> train_keys() {
  return {
      {.key = "train.batch",
       .type = Type::integer,
       .help = "samples per update",
       .required = true,
       .min = 1,
       .max = 1 << 30,
       .aliases = {"batch_size", "batchsize", "bs", "global_batch"}},
      {.key = "train.steps",
       .type = Type::integer,
       .help = "updates of the parameters, over all workers",
       .min = 1,
       .max = 1e15,
       .aliases = {"iterations", "iters", "max_steps", "num_steps", "updates"}},
      {.key = "train.epochs",
       .type = Type::integer,
       .help = "passes over the data",
       .min = 1,
       .max = 1e9,
       .aliases = {"num_epochs", "max_epochs"}},
      {.key = "train.slices",
       .type = Type::integer,
       .help = "parts of a batch, each its own forward and backward",
       .min = 1,
       .max = 1 << 20,
       .aliases = {"micro_batches", "microbatches", "chunks", "accumulation_steps"}},
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
      {.key = "train.init",
       .type = Type::path,
       .help = "safetensors file to start from",
       .aliases = {"load", "resume", "checkpoint", "from"}},
      {.key = "train.save",
       .type = Type::path,
       .help = "safetensors file to write at the end",
       .aliases = {"output", "out", "save_path", "save_to"}},
  };
}

std::vector<KeySpec> optimizer_keys() {
  return {
      {.key = "optimizer.name",
       .type = Type::string,
       .help = "the update rule",
       .fallback = "sgd"s,
       .choices = {"sgd", "adam", "adamw"},
       .aliases = {"optimizer", "rule"}},
      {.key = "optimizer.lr",
       .type = Type::real,
       .help = "learning rate",
       .fallback = 1e-3,
       .min = 0,
       .aliases = {"learning_rate", "eta", "rate", "step_size"}},
      {.key = "optimizer.momentum",
       .type = Type::real,
       .help = "of the gradients",
       .fallback = 0.0,
       .min = 0,
       .only = kOfSgd},
      {.key = "optimizer.dampening", .type = Type::real, .help = "of the momentum", .fallback = 0.0, .only = kOfSgd},
      {.key = "optimizer.nesterov",
       .type = Type::boolean,
       .help = "Nesterov's momentum",
       .fallback = false,
       .only = kOfSgd},
      {.key = "optimizer.weight_decay",
       .type = Type::real,
       .help = "decay (0; adamw 0.01)",
       .min = 0,
       .aliases = {"l2", "decay", "wd"}},
      {.key = "optimizer.clip_norm",
       .type = Type::real,
       .help = "largest norm of all gradients together; 0: not clipped",
       .fallback = 0.0,
       .min = 0,
       .aliases = {"max_norm", "grad_clip", "clip_grad_norm", "gradient_clip", "max_grad_norm"}},
      {.key = "optimizer.clip_value",
       .type = Type::real,
       .help = "largest absolute value of a gradient's element; 0: not clipped",
       .fallback = 0.0,
       .min = 0,
       .aliases = {"clip_grad_value", "grad_clip_value"}},
      {.key = "optimizer.non_finite",
       .type = Type::string,
       .help = "what becomes of a step with a gradient that is not finite",
       .fallback = "apply"s,
       .choices = {"apply", "stop", "skip"},
       .aliases = {"nan", "nan_policy", "on_nan", "skip_nan"}},
      {.key = "optimizer.beta1",
       .type = Type::real,
       .help = "decay of the mean",
       .fallback = 0.9,
       .min = 0,
       .max = 0.9999999999999999,
       .aliases = {"betas", "beta"},
       .only = kOfAdam},
      {.key = "optimizer.beta2",
       .type = Type::real,
       .help = "decay of the mean square",
       .fallback = 0.999,
       .min = 0,
       .max = 0.9999999999999999,
       .only = kOfAdam},
      {.key = "optimizer.eps",
       .type = Type::real,
       .help = "added to the root",
       .fallback = 1e-8,
       .min = 0,
       .aliases = {"epsilon"},
       .only = kOfAdam},
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
       .help = "when a push is applied",
       .fallback = "sync"s,
       .choices = {"sync", "async", "bounded"},
       .aliases = {"sync", "async", "mode"},
       .only = kOfServers},
      {.key = "strategy.staleness",
       .type = Type::integer,
       .help = "steps that a worker may be ahead of the slowest",
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
       .help = "worker processes",
       .fallback = 1_i,
       .min = 1,
       .max = 1024,
       .aliases = {"num_workers", "world_size", "nproc", "processes", "n_workers"}},
      {.key = "job.threads",
       .type = Type::integer,
       .help = "threads of a worker (cores / workers)",
       .min = 1,
       .max = 1024,
       .aliases = {"num_threads", "n_threads"}},
      {.key = "job.transport",
       .type = Type::string,
       .help = "how frames travel",
       .fallback = "auto"s,
       .choices = {"auto", "arena", "tcp"},
       .aliases = {"backend"}},
      {.key = "job.address",
       .type = Type::string,
       .help = "numeric address to listen on",
       .fallback = "127.0.0.1"s,
       .aliases = {"host", "listen", "master_addr", "ip"}},
      {.key = "job.device", .type = Type::string, .help = "where tensors live", .fallback = "cpu"s, .choices = {"cpu"}},
      {.key = "job.logs",
       .type = Type::path,
       .help = "folder of logs, one a process",
       .aliases = {"log_dir", "log", "logdir"}},
      {.key = "job.peer_timeout_s",
       .type = Type::real,
       .help = "no heartbeat for so long = lost",
       .fallback = 10.0,
       .min = 0,
       .max = 1e6,
       .above_min = true,
       .aliases = {"timeout", "heartbeat_timeout", "peer_timeout"}},
      {.key = "job.step_timeout_s",
       .type = Type::real,
       .help = "alive without progress",
       .fallback = 600.0,
       .min = 0,
       .max = 1e6,
       .above_min = true,
       .aliases = {"step_timeout"}},
      {.key = "job.join_timeout_s",
       .type = Type::real,
       .help = "not joined",
       .fallback = 60.0,
       .min = 0,
       .max = 1e6,
       .above_min = true,
       .aliases = {"join_timeout"}},
  };
}

}  // namespace

std::vector<KeySpec> job_keys(bool own_program) {
  std::vector<KeySpec> all;
  for (auto&& keys :
       {model_keys(own_program), data_keys(), train_keys(), optimizer_keys(), strategy_keys(), run_keys()})
    all.insert(all.end(), keys.begin(), keys.end());
  return all;
}

}  // namespace cohaul::config
