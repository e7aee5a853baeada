#include "cohaul/update/schedule_keys.h"

#include "cohaul/base/limits.h"

#include <algorithm>
#include <string>

namespace cohaul::update {
namespace {

using config::Config;
using config::KeySpec;
using config::Type;
using Int = std::int64_t;

config::OnlyWith with_schedule(std::vector<std::string> names) { return {"schedule.name", std::move(names)}; }

std::vector<KeySpec> length_keys() {
  return {
      {.key = "schedule.name",
       .type = Type::string,
       .help = "how the learning rate changes with the number of updates, as in torch.optim.lr_scheduler; inverse_sqrt "
               "as the square root that Transformers are trained with; plateau (ReduceLROnPlateau) with evaluations",
       .fallback = "constant",
       .choices = {"constant", "step", "multistep", "exponential", "cosine", "restarts", "polynomial", "inverse_sqrt",
                   "one_cycle", "plateau"},
       .aliases = {"schedule", "lr_schedule", "scheduler", "lr_scheduler", "policy"}},
      {.key = "schedule.warmup_steps",
       .type = Type::integer,
       .help = "updates in which the rate rises linearly, before the schedule begins",
       .fallback = 0,
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

std::vector<KeySpec> shape_keys() {
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
       .fallback = 1,
       .min = 1,
       .max = 1000,
       .aliases = {"t_mult", "T_mult"},
       .only = with_schedule({"restarts"})},
      {.key = "schedule.power",
       .type = Type::real,
       .help = "power of the polynomial",
       .fallback = 1.0,
       .min = 0,
       .only = with_schedule({"polynomial"})},
      {.key = "schedule.pct_start",
       .type = Type::real,
       .help = "part of the cycle in which the rate rises",
       .fallback = 0.3,
       .min = 0,
       .max = config::kBelowOne,
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
       .max = config::kBelowOne,
       .only = with_schedule({"plateau"})},
      {.key = "schedule.patience",
       .type = Type::integer,
       .help = "evaluations in a row that may get no better before the rate falls",
       .fallback = 10,
       .min = 0,
       .max = 1e15,
       .only = with_schedule({"plateau"})},
      {.key = "schedule.threshold",
       .type = Type::real,
       .help = "fraction of the smallest loss by which a loss must be below it to be better",
       .fallback = 1e-4,
       .min = 0,
       .max = config::kBelowOne,
       .only = with_schedule({"plateau"})},
      {.key = "schedule.cooldown",
       .type = Type::integer,
       .help = "evaluations after a fall that do not count",
       .fallback = 0,
       .min = 0,
       .max = 1e15,
       .only = with_schedule({"plateau"})},
  };
}

}  // namespace

std::vector<KeySpec> schedule_keys() { return config::concatenate({length_keys(), shape_keys(), plateau_keys()}); }

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
  const std::vector<Int> at = *config::integers(*list);
  if (at.front() < 1 || !std::ranges::is_sorted(at))
    return job.mistake("schedule.milestones", "must be numbers of updates from 1 on, in ascending order");
  return {};
}

Result<Schedule> schedule_of(const Config& job, Int updates) {
  Schedule s;
  COHAUL_ASSIGN(s.kind, schedule_kind(job.get<std::string>("schedule.name")));
  s.warmup_steps = job.get<Int>("schedule.warmup_steps");
  s.every = job.get_or<Int>("schedule.every", 0);
  if (const auto at = job.find<std::string>("schedule.milestones")) s.milestones = *config::integers(*at);
  s.gamma = job.get_or("schedule.gamma", s.gamma), s.min = job.get_or("schedule.min", s.min);
  s.power = job.get_or("schedule.power", s.power), s.stretch = job.get_or("schedule.stretch", s.stretch);
  s.pct_start = job.get_or("schedule.pct_start", s.pct_start);
  s.div_factor = job.get_or("schedule.div_factor", s.div_factor);
  s.factor = job.get_or("schedule.factor", s.factor), s.patience = job.get_or("schedule.patience", s.patience);
  s.threshold = job.get_or("schedule.threshold", s.threshold), s.cooldown = job.get_or("schedule.cooldown", s.cooldown);
  s.final_div_factor = job.get_or("schedule.final_div_factor", s.final_div_factor);
  if (s.warmup_steps >= updates)
    return job.mistake("schedule.warmup_steps",
                       "the run has " + std::to_string(updates) + " updates, and would end before its rate has risen");
  s.steps = job.get_or("schedule.steps", updates - s.warmup_steps);
  if (const Status checked = s.check(); !checked.ok()) return job.mistake("schedule.name", checked.message());
  return s;
}

}  // namespace cohaul::update
