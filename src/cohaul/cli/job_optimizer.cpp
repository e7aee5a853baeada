#include "cohaul/cli/job_optimizer.h"

#include <string>

namespace cohaul::cli {
namespace {

using config::Config;
using Int = std::int64_t;

double real(const Config& job, const char* key) { return job.get<double>("optimizer." + std::string(key)); }

/// What all rules have.
template <class Rule>
Rule with_common(const Config& job, Rule rule) {
  rule.lr = real(job, "lr"), rule.weight_decay = real(job, "weight_decay");
  rule.clip_norm = real(job, "clip_norm"), rule.clip_value = real(job, "clip_value");
  const auto what = job.get<std::string>("optimizer.non_finite");
  rule.non_finite = what == "stop"   ? train::NonFinite::stop
                    : what == "skip" ? train::NonFinite::skip
                                     : train::NonFinite::apply;
  return rule;
}

template <class Rule>
train::Optimizer adam(const Config& job, Rule rule) {
  rule.beta1 = real(job, "beta1"), rule.beta2 = real(job, "beta2"), rule.eps = real(job, "eps");
  rule.amsgrad = job.get<bool>("optimizer.amsgrad");
  return with_common(job, rule);
}

train::Optimizer rule_of(const Config& job) {
  const auto name = job.get<std::string>("optimizer.name");
  if (name == "adam") return adam(job, train::Adam{});
  if (name == "adamw") return adam(job, train::AdamW{});
  if (name == "adagrad") {
    train::Adagrad rule;
    rule.lr_decay = real(job, "lr_decay"), rule.initial_accumulator = real(job, "initial_accumulator");
    rule.eps = real(job, "eps");
    return with_common(job, rule);
  }
  if (name == "rmsprop") {
    train::RMSprop rule;
    rule.alpha = real(job, "alpha"), rule.eps = real(job, "eps"), rule.momentum = real(job, "momentum");
    rule.centered = job.get<bool>("optimizer.centered");
    return with_common(job, rule);
  }
  if (name == "lion") {
    train::Lion rule;
    rule.beta1 = real(job, "beta1"), rule.beta2 = real(job, "beta2");
    return with_common(job, rule);
  }
  if (name == "lars") {
    train::Lars rule;
    rule.momentum = real(job, "momentum"), rule.trust_coefficient = real(job, "trust_coefficient");
    rule.trust_ratio = job.get<bool>("optimizer.trust_ratio");
    return with_common(job, rule);
  }
  if (name == "lamb") {
    train::Lamb rule;
    rule.beta1 = real(job, "beta1"), rule.beta2 = real(job, "beta2"), rule.eps = real(job, "eps");
    rule.trust_ratio = job.get<bool>("optimizer.trust_ratio");
    return with_common(job, rule);
  }
  train::Sgd rule;
  rule.momentum = real(job, "momentum"), rule.dampening = real(job, "dampening");
  rule.nesterov = job.get<bool>("optimizer.nesterov");
  return with_common(job, rule);
}

std::vector<train::ParameterGroup> groups_of(const Config& job) {
  std::vector<train::ParameterGroup> out;
  for (;;) {
    const std::string prefix = "optimizer.group." + std::to_string(out.size()) + ".";
    const auto match = job.find<std::string>(prefix + "match");
    if (!match) return out;
    const auto real = [&](const char* key) { return job.find<double>(prefix + key); };
    const auto flag = [&](const char* key) { return job.find<bool>(prefix + key); };
    train::ParameterGroup g{.match = *config::strings(*match)};
    g.lr = real("lr"), g.weight_decay = real("weight_decay"), g.momentum = real("momentum");
    g.dampening = real("dampening"), g.beta1 = real("beta1"), g.beta2 = real("beta2"), g.eps = real("eps");
    g.alpha = real("alpha"), g.lr_decay = real("lr_decay"), g.initial_accumulator = real("initial_accumulator");
    g.nesterov = flag("nesterov"), g.amsgrad = flag("amsgrad"), g.centered = flag("centered");
    g.trust_coefficient = real("trust_coefficient"), g.trust_ratio = flag("trust_ratio");
    out.push_back(std::move(g));
  }
}

Result<train::Schedule> schedule_of(const Config& job, Int updates) {
  train::Schedule s;
  COHAUL_ASSIGN(s.kind, update::schedule_kind(job.get<std::string>("schedule.name")));
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

}  // namespace

Result<train::Optimizer> optimizer_of(const Config& job, Int updates) {
  train::Optimizer out = rule_of(job);
  COHAUL_ASSIGN(out.schedule, schedule_of(job, updates));
  out.groups = groups_of(job);
  if (Status s = out.check(); !s.ok()) return job.mistake("optimizer.name", s.message());
  return out;
}

}  // namespace cohaul::cli
