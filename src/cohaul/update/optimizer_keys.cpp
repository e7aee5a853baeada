#include "cohaul/update/optimizer_keys.h"

#include <string>

#include "cohaul/config/condition.h"

namespace cohaul::update {
namespace {

using config::Config;
using config::KeySpec;
using config::Type;
using Int = std::int64_t;

const config::OnlyWith kOfSgd{"optimizer.name", {"sgd"}};
const config::OnlyWith kOfAdam{"optimizer.name", {"adam", "adamw"}};
const config::OnlyWith kOfAdagrad{"optimizer.name", {"adagrad"}};
const config::OnlyWith kOfRmsprop{"optimizer.name", {"rmsprop"}};

std::vector<KeySpec> general_keys() {
  return {
      {.key = "optimizer.name",
       .type = Type::string,
       .help = "the update rule, as PyTorch defines it; lion, lars and lamb as their authors do",
       .fallback = "sgd",
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
      {.key = "optimizer.dampening",
       .type = Type::real,
       .help = "dampening of the momentum",
       .fallback = 0.0,
       .only = kOfSgd},
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
       .fallback = "apply",
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
       .max = config::kBelowOne,
       .aliases = {"betas", "beta"},
       .only = {"optimizer.name", {"adam", "adamw", "lion", "lamb"}}},
      {.key = "optimizer.beta2",
       .type = Type::real,
       .help = "decay of the mean square; of the momentum in lion (0.999; lion 0.99)",
       .min = 0,
       .max = config::kBelowOne,
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
       .help = "in update t the rate is divided by 1 + (t - 1) * lr_decay",
       .fallback = 0.0,
       .min = 0,
       .only = kOfAdagrad},
      {.key = "optimizer.initial_accumulator",
       .type = Type::real,
       .help = "value from which the sum of squares starts",
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

/// The keys that an [[optimizer.group]] may set otherwise than the rest.
std::vector<KeySpec> group_keys() {
  std::vector<KeySpec> keys{
      {.key = "optimizer.group.N.match",
       .type = Type::strings,
       .help = "patterns of the parameters' names of group N, an [[optimizer.group]]: [\"*.bias\", "
               "\"head.*\"]; the first group that matches a parameter has it; with --set *.bias,head.*",
       .aliases = {"params", "names", "parameters"}}};
  for (KeySpec& spec : config::concatenate({general_keys(), adaptive_keys()})) {
    const std::string name = spec.key.substr(std::string("optimizer.").size());
    if (name == "name" || name == "clip_norm" || name == "clip_value" || name == "non_finite") continue;
    spec.help = spec.key + " of the group";
    spec.key = "optimizer.group.N." + name;
    spec.fallback.reset();
    spec.aliases.clear();
    keys.push_back(std::move(spec));
  }
  return keys;
}

/// Checks that groups count from 0, and that each says which parameters it has.
Status check_groups(const Config& job) {
  const std::string prefix = "optimizer.group.";
  for (const auto& [key, entry] : job.entries()) {
    if (!key.starts_with(prefix)) continue;
    const Int number =
        *config::parse_number<Int>(key.substr(prefix.size(), key.find('.', prefix.size()) - prefix.size()));
    for (Int g = 0; g <= number; ++g) {
      const std::string match = prefix + std::to_string(g) + ".match";
      if (!job.has(match))
        return job.mistake(match, "missing: patterns of parameters' names, such as [\"*.bias\"], because " + key +
                                      " is set (" + entry.where.text() + ")");
    }
  }
  return {};
}

}  // namespace

std::vector<KeySpec> optimizer_keys() { return config::concatenate({general_keys(), adaptive_keys(), group_keys()}); }

void fill_optimizer(Config& job, const config::Schema& schema) {
  const auto rule = job.get<std::string>("optimizer.name");
  const auto is = [&](std::string_view name) { return rule == name; };
  const auto fill = [&](const char* key, double value) { fill_default(job, schema, key, value); };
  fill("optimizer.lr", is("adagrad") || is("rmsprop") ? 1e-2 : is("lion") ? 1e-4 : is("lars") ? 1.0 : 1e-3);
  fill("optimizer.momentum", is("lars") ? 0.9 : 0.0);
  fill("optimizer.weight_decay", is("adamw") || is("lamb") ? 0.01 : is("lars") ? 5e-4 : 0.0);
  fill("optimizer.beta2", is("lion") ? 0.99 : 0.999);
  fill("optimizer.eps", is("adagrad") ? 1e-10 : is("lamb") ? 1e-6 : 1e-8);
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

RuleSettings rule_of(const Config& job) {
  RuleSettings rule;
  const auto rule_name = job.get<std::string>("optimizer.name");
  for (int kind = 0; kind <= static_cast<int>(RuleSettings::Kind::lamb); ++kind)
    if (name(static_cast<RuleSettings::Kind>(kind)) == rule_name) rule.kind = static_cast<RuleSettings::Kind>(kind);
  // A job has no value for a key that its rule does not read.
  const auto take = [&](auto& setting, const char* key) {
    setting = job.get_or("optimizer." + std::string(key), setting);
  };
  take(rule.lr, "lr"), take(rule.weight_decay, "weight_decay"), take(rule.momentum, "momentum");
  take(rule.dampening, "dampening"), take(rule.nesterov, "nesterov");
  take(rule.beta1, "beta1"), take(rule.beta2, "beta2"), take(rule.eps, "eps"), take(rule.amsgrad, "amsgrad");
  take(rule.lr_decay, "lr_decay"), take(rule.initial_accumulator, "initial_accumulator");
  take(rule.alpha, "alpha"), take(rule.centered, "centered");
  take(rule.trust_coefficient, "trust_coefficient"), take(rule.trust_ratio, "trust_ratio");
  return rule;
}

GradientPolicy policy_of(const Config& job) {
  GradientPolicy policy;
  policy.clip_norm = job.get<double>("optimizer.clip_norm");
  policy.clip_value = job.get<double>("optimizer.clip_value");
  const auto what = job.get<std::string>("optimizer.non_finite");
  policy.non_finite = what == "stop" ? NonFinite::stop : what == "skip" ? NonFinite::skip : NonFinite::apply;
  return policy;
}

}  // namespace cohaul::update
