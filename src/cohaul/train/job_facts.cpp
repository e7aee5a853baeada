#include "cohaul/train/job_facts.h"

#include <variant>

#include "cohaul/base/digits.h"
#include "cohaul/base/facts.h"

#include "cohaul/train/trainer.h"

namespace cohaul::train {
namespace {

template <class T>
  requires std::is_arithmetic_v<T>
std::string text_of(T value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_integral_v<T>) {
    return std::to_string(value);
  } else {
    return digits_of(value);
  }
}

class Lines {
 public:
  Lines& add(std::string_view name, std::string_view value) {
    text_.append(name).append("=").append(value).append("\n");
    return *this;
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  Lines& add(std::string_view name, T value) {
    return add(name, std::string_view(text_of(value)));
  }
  std::string text() const { return text_; }

 private:
  std::string text_;
};

void add(Lines& lines, const strategy::ParameterServer& ps) {
  lines.add("strategy.servers", ps.servers);
  constexpr std::string_view kNames[] = {"sync", "async", "bounded"};
  lines.add("strategy.consistency", kNames[ps.consistency.index()]);
  if (const auto* b = std::get_if<strategy::Bounded>(&ps.consistency)) lines.add("strategy.staleness", b->staleness);
}

/// Returns a group's settings as text: "match *.bias, lr 0.1".
std::string text_of(const ParameterGroup& g) {
  std::string out = "match";
  for (const std::string& pattern : g.match) out += " " + pattern;
  const auto say = [&](const char* name, const auto& value) {
    if (value) out += std::string(", ") + name + " " + text_of(*value);
  };
  say("lr", g.lr), say("weight_decay", g.weight_decay), say("momentum", g.momentum), say("dampening", g.dampening);
  say("beta1", g.beta1), say("beta2", g.beta2), say("eps", g.eps), say("alpha", g.alpha);
  say("lr_decay", g.lr_decay), say("initial_accumulator", g.initial_accumulator);
  say("nesterov", g.nesterov), say("amsgrad", g.amsgrad), say("centered", g.centered);
  say("trust_coefficient", g.trust_coefficient), say("trust_ratio", g.trust_ratio);
  return out;
}

void add(Lines& lines, const Optimizer& o) {
  const update::RuleSettings& r = o.rule;
  lines.add("optimizer", update::name(r.kind)).add("optimizer.lr", r.lr);
  lines.add("optimizer.weight_decay", r.weight_decay).add("optimizer.momentum", r.momentum);
  lines.add("optimizer.dampening", r.dampening).add("optimizer.nesterov", r.nesterov);
  lines.add("optimizer.beta1", r.beta1).add("optimizer.beta2", r.beta2).add("optimizer.eps", r.eps);
  lines.add("optimizer.amsgrad", r.amsgrad).add("optimizer.lr_decay", r.lr_decay);
  lines.add("optimizer.initial_accumulator", r.initial_accumulator);
  lines.add("optimizer.alpha", r.alpha).add("optimizer.centered", r.centered);
  lines.add("optimizer.trust_coefficient", r.trust_coefficient).add("optimizer.trust_ratio", r.trust_ratio);
  for (std::size_t g = 0; g < o.groups.size(); ++g)
    lines.add("optimizer.group." + std::to_string(g), text_of(o.groups[g]));
  lines.add("optimizer.clip_norm", o.policy.clip_norm).add("optimizer.clip_value", o.policy.clip_value);
  lines.add("optimizer.non_finite", update::name(o.policy.non_finite));
}

void add(Lines& lines, const Schedule& s) {
  lines.add("schedule", update::name(s.kind)).add("schedule.warmup_steps", s.warmup_steps);
  lines.add("schedule.steps", s.steps).add("schedule.every", s.every).add("schedule.stretch", s.stretch);
  std::string milestones;
  for (std::int64_t at : s.milestones) milestones += (milestones.empty() ? "" : ",") + std::to_string(at);
  lines.add("schedule.milestones", milestones).add("schedule.gamma", s.gamma).add("schedule.min", s.min);
  lines.add("schedule.power", s.power).add("schedule.pct_start", s.pct_start);
  lines.add("schedule.div_factor", s.div_factor).add("schedule.final_div_factor", s.final_div_factor);
  lines.add("schedule.factor", s.factor).add("schedule.patience", s.patience);
  lines.add("schedule.threshold", s.threshold).add("schedule.cooldown", s.cooldown);
}

}  // namespace

std::string trainer_facts(const strategy::Strategy& strategy, const std::optional<Optimizer>& optimizer,
                          const TrainerOptions& options, const BorrowedModel& model) {
  Lines lines;
  lines.add("strategy", strategy::name(strategy));
  if (const auto* ps = std::get_if<strategy::ParameterServer>(&strategy)) add(lines, *ps);
  if (optimizer) add(lines, *optimizer), add(lines, optimizer->schedule);
  else lines.add("optimizer", "the user's own");
  lines.add("slices", options.slices).add("seed", options.seed).add("buffers", name(options.buffers));
  lines.add("ema", options.ema);
  lines.add("watch_gradients", options.watch_gradients);
  // Each worker has another part of the model.
  if (std::holds_alternative<strategy::Tensor>(strategy)) return lines.text();
  std::int64_t elements = 0;
  for (const at::Tensor& p : model.parameters()) elements += p.defined() ? p.numel() : 0;
  lines.add("the model's parameters", model.layout().parameters().size()).add("the model's elements", elements);
  lines.add("the model's fingerprint", model.fingerprint());
  return lines.text();
}

std::string loop_facts(std::int64_t number, const FitOptions& options, const data::DataSet& set) {
  Lines lines;
  lines.add(kLoopFact, number);
  lines.add("batch", options.batch).add("steps", options.steps).add("shuffle", options.shuffle);
  lines.add("the data set's size", set.size());
  if (std::uint64_t fingerprint = set.fingerprint(); fingerprint != 0)
    lines.add("the data set's fingerprint", fingerprint);
  return lines.text();
}

std::string evaluation_facts(const data::DataSet& set, std::int64_t batch, std::size_t metrics, std::uint64_t buffers) {
  Lines lines;
  lines.add("the test set's size", set.size()).add("the evaluation's batch", batch).add("metrics", metrics);
  if (std::uint64_t fingerprint = set.fingerprint(); fingerprint != 0)
    lines.add("the test set's fingerprint", fingerprint);
  if (buffers != 0) lines.add("the hash of the model's buffers, which a forward in training mode changes", buffers);
  return lines.text();
}

std::string rates_facts(std::span<const double> rates) {
  std::string all;
  for (const double rate : rates) all += (all.empty() ? "" : ",") + text_of(rate);
  return Lines().add("the learning rates that set_lr() or the schedule plateau left", all).text();
}

}  // namespace cohaul::train
