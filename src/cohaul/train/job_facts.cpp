#include "cohaul/train/job_facts.h"

#include <charconv>
#include <variant>

#include "cohaul/train/trainer.h"

namespace cohaul::train {
namespace {

class Lines {
 public:
  Lines& add(std::string_view name, std::string_view value) {
    text_.append(name).append("=").append(value).append("\n");
    return *this;
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  Lines& add(std::string_view name, T value) {
    if constexpr (std::is_same_v<T, bool>) {
      return add(name, std::string_view(value ? "true" : "false"));
    } else {
      char digits[40];
      const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
      return add(name, std::string_view(digits, static_cast<std::size_t>(end - digits)));
    }
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

void add(Lines& lines, const Optimizer& o) {
  using Kind = update::RuleSettings::Kind;
  lines.add("optimizer", update::name(o.rule.kind)).add("optimizer.lr", o.settings.lr);
  lines.add("optimizer.weight_decay", o.rule.weight_decay);
  if (o.rule.kind == Kind::sgd)
    lines.add("optimizer.momentum", o.rule.momentum)
        .add("optimizer.dampening", o.rule.dampening)
        .add("optimizer.nesterov", o.rule.nesterov);
  else lines.add("optimizer.beta1", o.rule.beta1).add("optimizer.beta2", o.rule.beta2).add("optimizer.eps", o.rule.eps);
  lines.add("optimizer.clip_norm", o.policy.clip_norm).add("optimizer.clip_value", o.policy.clip_value);
  lines.add("optimizer.non_finite", update::name(o.policy.non_finite));
}

}  // namespace

std::string trainer_facts(const strategy::Strategy& strategy, const std::optional<Optimizer>& optimizer, int slices,
                          std::uint64_t seed, const BorrowedModel& model) {
  Lines lines;
  lines.add("strategy", strategy::name(strategy));
  if (const auto* ps = std::get_if<strategy::ParameterServer>(&strategy)) add(lines, *ps);
  if (optimizer) add(lines, *optimizer);
  else lines.add("optimizer", "the user's own");
  lines.add("slices", slices).add("seed", seed);
  if (std::holds_alternative<strategy::Tensor>(strategy)) return lines.text();  // each worker has its part of the model
  std::int64_t elements = 0;
  for (const at::Tensor& p : model.parameters()) elements += p.defined() ? p.numel() : 0;
  lines.add("the model's parameters", model.layout().parameters().size()).add("the model's elements", elements);
  lines.add("the model's fingerprint", model.fingerprint());
  return lines.text();
}

std::string loop_facts(const FitOptions& options, const data::DataSet& set) {
  Lines lines;
  lines.add("batch", options.batch).add("steps", options.steps).add("shuffle", options.shuffle);
  lines.add("the data set's size", set.size());
  if (std::uint64_t fingerprint = set.fingerprint(); fingerprint != 0)
    lines.add("the data set's fingerprint", fingerprint);
  return lines.text();
}

}  // namespace cohaul::train
