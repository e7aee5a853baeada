#include "cohaul/train/job_options.h"

#include <string>

#include "cohaul/train/sample_loop.h"
#include "cohaul/update/optimizer_keys.h"
#include "cohaul/update/schedule_keys.h"

namespace cohaul::train {

using config::Config;
using Int = std::int64_t;

namespace {

EvaluationOptions evaluation_of(const Config& job) {
  EvaluationOptions out;
  if (!job.has("train.eval_every")) return out;
  out.every = job.get<Int>("train.eval_every");
  out.patience = job.get_or<Int>("train.patience", 0);
  out.keep_best = job.get<bool>("train.keep_best");
  out.ema = job.get<double>("train.ema") > 0 && job.get<bool>("train.use_ema");
  return out;
}

std::vector<ParameterGroup> groups_of(const Config& job) {
  std::vector<ParameterGroup> out;
  for (;;) {
    const std::string prefix = "optimizer.group." + std::to_string(out.size()) + ".";
    const auto match = job.find<std::string>(prefix + "match");
    if (!match) return out;
    const auto real = [&](const char* key) { return job.find<double>(prefix + key); };
    const auto flag = [&](const char* key) { return job.find<bool>(prefix + key); };
    ParameterGroup g{.match = *config::strings(*match)};
    g.lr = real("lr"), g.weight_decay = real("weight_decay"), g.momentum = real("momentum");
    g.dampening = real("dampening"), g.beta1 = real("beta1"), g.beta2 = real("beta2"), g.eps = real("eps");
    g.alpha = real("alpha"), g.lr_decay = real("lr_decay"), g.initial_accumulator = real("initial_accumulator");
    g.nesterov = flag("nesterov"), g.amsgrad = flag("amsgrad"), g.centered = flag("centered");
    g.trust_coefficient = real("trust_coefficient"), g.trust_ratio = flag("trust_ratio");
    out.push_back(std::move(g));
  }
}

}  // namespace

TrainerOptions trainer_options_of(const Config& job) {
  TrainerOptions out;
  out.slices = static_cast<int>(job.get<Int>("train.slices"));
  const auto buffers = job.get<std::string>("train.buffers");
  out.buffers = buffers == "mean" ? Buffers::mean : buffers == "own" ? Buffers::own : Buffers::worker0;
  out.seed = static_cast<std::uint64_t>(job.get<Int>("train.seed"));
  out.watch_gradients = job.get<Int>("train.watch_gradients");
  out.ema = job.get<double>("train.ema");
  out.allocator = job.get<std::string>("job.allocator") == "torch" ? Allocator::torch : Allocator::arena;
  return out;
}

Result<FitOptions> fit_options_of(const Config& job, Int samples) {
  FitOptions out;
  out.batch = job.get<Int>("train.batch");
  out.steps = job.get_or<Int>("train.steps", 0);
  out.epochs = job.get_or<Int>("train.epochs", 0);
  out.shuffle = job.get<bool>("data.shuffle");
  out.log_every = job.get<Int>("train.log_every");
  out.checkpoint.folder = job.get_or("train.checkpoint", std::string());
  out.checkpoint.every = job.get_or<Int>("train.checkpoint_every", 0);
  if (const auto time = job.find<std::string>("train.checkpoint_every"))
    out.checkpoint.every_s = config::seconds_of(*time).value_or(0);
  out.checkpoint.keep = static_cast<int>(job.get<Int>("train.keep"));
  out.evaluation = evaluation_of(job);
  return resolve(out, samples, static_cast<int>(job.get<Int>("train.slices")));
}

Result<Optimizer> optimizer_of(const Config& job, Int updates) {
  Optimizer out = Sgd{};
  out.rule = update::rule_of(job), out.policy = update::policy_of(job);
  COHAUL_ASSIGN(out.schedule, update::schedule_of(job, updates));
  out.groups = groups_of(job);
  if (Status s = out.check(); !s.ok()) return job.mistake("optimizer.name", s.message());
  return out;
}

}  // namespace cohaul::train
