#include "reference.h"

#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/schedulers/reduce_on_plateau_scheduler.h>
#include <torch/optim/sgd.h>
#include <torch/utils.h>

#include <map>

#include "cohaul/base/random.h"
#include "cohaul/data/sampler.h"
#include "cohaul/update/tree_fold.h"
#include "papers.h"
#include "play.h"

namespace cohaul::programs {

namespace {

using Names = std::vector<std::pair<std::string, at::Tensor>>;

bool ends_or_begins(const std::string& name, const std::string& pattern) {
  return pattern.front() == '*' ? name.ends_with(pattern.substr(1))
                                : name.starts_with(pattern.substr(0, pattern.size() - 1));
}

/// Returns the group of a parameter: the first that matches its name, from 1; 0: none.
std::size_t group_of(const Rule& rule, const std::string& name) {
  if (!rule.grouped) return 0;
  const auto& groups = groups_of_parameters();
  for (std::size_t g = 0; g < groups.size(); ++g)
    for (const std::string& pattern : groups[g].match)
      if (ends_or_begins(name, pattern)) return g + 1;
  return 0;
}

/// Returns the rule of a group.
Rule rule_of(Rule rule, std::size_t group) {
  if (group == 0) return rule;
  const GroupOf& g = groups_of_parameters()[group - 1];
  if (g.lr != 0) rule.lr *= g.lr;
  rule.decay = g.decay, rule.trust = g.trust;
  if (rule.kind == RuleKind::sgd && !rule.nesterov) rule.momentum = g.momentum;
  return rule;
}

template <class Options>
std::vector<torch::optim::OptimizerParamGroup> param_groups(const Rule& rule, const Names& of,
                                                            Options (*options)(const Rule&)) {
  std::vector<torch::optim::OptimizerParamGroup> out;
  for (std::size_t g = 0; g <= (rule.grouped ? groups_of_parameters().size() : 0); ++g) {
    std::vector<at::Tensor> members;
    for (const auto& [name, p] : of)
      if (group_of(rule, name) == g) members.push_back(p);
    out.emplace_back(std::move(members), std::make_unique<Options>(options(rule_of(rule, g))));
  }
  return out;
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(Rule rule, double rate, const Names& of) {
  using namespace torch::optim;
  rule.lr *= rate;
  switch (rule.kind) {
    case RuleKind::sgd:
      return std::make_unique<SGD>(param_groups<SGDOptions>(rule, of,
                                                            [](const Rule& r) {
                                                              return SGDOptions(r.lr)
                                                                  .momentum(r.momentum)
                                                                  .dampening(r.dampening)
                                                                  .weight_decay(r.decay)
                                                                  .nesterov(r.nesterov);
                                                            }),
                                   SGDOptions(rule.lr));
    case RuleKind::adam:
      return std::make_unique<Adam>(param_groups<AdamOptions>(
          rule, of, [](const Rule& r) { return AdamOptions(r.lr).eps(r.eps).weight_decay(r.decay); }));
    case RuleKind::adamw:
      return std::make_unique<AdamW>(param_groups<AdamWOptions>(
          rule, of, [](const Rule& r) { return AdamWOptions(r.lr).eps(r.eps).weight_decay(r.decay); }));
    case RuleKind::lars:
    case RuleKind::lamb:
      return std::make_unique<Layerwise>(param_groups<LayerwiseOptions>(rule, of, [](const Rule& r) {
        LayerwiseOptions o(r.lr);
        o.lars = r.kind == RuleKind::lars;
        o.momentum = r.momentum, o.decay = r.decay, o.eps = r.eps;
        o.coefficient = kTrustCoefficient, o.trust = r.trust;
        return o;
      }));
  }
  return nullptr;
}

}  // namespace

TorchOptimizer::TorchOptimizer(const Rule& rule, double rate, const Names& parameters)
    : rule_(rule), optimizer_(make_optimizer(rule, rate, parameters)) {
  for (const auto& [name, p] : parameters) parameters_.push_back(p);
  for (const auto& group : optimizer_->param_groups()) rates_.push_back(group.options().get_lr());
  if (!rule.plateau) return;
  using Plateau = torch::optim::ReduceLROnPlateauScheduler;
  plateau_ = std::make_shared<Plateau>(*optimizer_, Plateau::min, static_cast<float>(kPlateauFactor), /*patience=*/0);
}

void TorchOptimizer::set_rate(bool of_group, double lr) {
  for (std::size_t g = 0; g < rates_.size(); ++g) {
    const bool follows = g == 0 || groups_of_parameters()[g - 1].lr == 0;
    if (of_group ? g == 1 : follows) rates_[g] = lr;
  }
}

void TorchOptimizer::tell_plateau(double loss) {
  if (steps_ < rule_.warmup) return;
  for (std::size_t g = 0; g < rates_.size(); ++g) optimizer_->param_groups()[g].options().set_lr(rates_[g]);
  plateau_->step(static_cast<float>(loss));
  for (std::size_t g = 0; g < rates_.size(); ++g) rates_[g] = optimizer_->param_groups()[g].options().get_lr();
}

double TorchOptimizer::schedule_factor() const {
  if (rule_.gamma == 1 && !rule_.plateau) return 1;
  if (steps_ < rule_.warmup) return static_cast<double>(steps_ + 1) / static_cast<double>(rule_.warmup + 1);
  if (rule_.plateau) return 1;
  return std::pow(rule_.gamma, static_cast<double>(steps_ - rule_.warmup));
}

bool TorchOptimizer::step() {
  for (std::size_t g = 0; g < rates_.size(); ++g)
    optimizer_->param_groups()[g].options().set_lr(rates_[g] * schedule_factor());
  ++steps_;
  std::vector<at::Tensor> having;
  for (const at::Tensor& p : parameters_)
    if (p.grad().defined()) having.push_back(p);
  if (rule_.skip)
    for (const at::Tensor& p : having)
      if (!p.grad().isfinite().all().item<bool>()) return false;
  if (rule_.clip_norm > 0) torch::nn::utils::clip_grad_norm_(having, rule_.clip_norm);
  if (rule_.clip_value > 0) torch::nn::utils::clip_grad_value_(having, rule_.clip_value);
  optimizer_->step();
  return true;
}

namespace {

/// One of the models, with its optimizer.
class Side {
 public:
  Side(Play& play, Which which) : play_(play), which_(which) {
    named_ = distinct_parameters(play.module(which));
    for (const auto& [name, p] : named_) parameters_.push_back(p);
    sums_.resize(parameters_.size());
  }
  void make(double rate) {
    optimizer_.emplace(rule(), rate, named_);
    averages_.clear();
  }
  void tell_plateau(double loss) { optimizer_->tell_plateau(loss); }
  void with_averages(const std::function<void()>& f) {
    const std::vector<at::Tensor> now = copies();
    if (!averages_.empty()) take(averages_);
    f();
    take(now);
  }
  void set_rate(bool of_group, double lr) { optimizer_->set_rate(of_group, lr); }
  std::int64_t steps() const { return optimizer_->steps(); }

  /// Computes a slice of the step. weight: its fraction of the batch, or its samples.
  void slice(const data::Batch& batch, const Place& place, double weight) {
    forget_gradients();
    buffers_of_slice(place.slice == 0);
    at::Tensor loss = play_.loss(which_, batch, place);
    losses_.add(weight * loss.item<double>(), [](double a, double b) { return a + b; });
    loss.backward(torch::scalar_tensor(weight, loss.options().requires_grad(false)));
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const at::Tensor& g = parameters_[i].grad();
      sums_[i].add(g.defined() ? std::optional(g.clone()) : std::nullopt, sum);
    }
    for (const auto& item : play_.module(which_).named_buffers())
      if (item.value().is_floating_point()) means_[item.key()].add(Mean{item.value().clone(), 1}, mean);
    forget_gradients();
  }
  /// Makes the update. samples: the number that sums have still to be divided by; 0: they are means already. is_seen: whether the program sees the
  /// step's result.
  void update(int step, double samples, bool is_seen) {
    for (const auto& item : play_.module(which_).named_buffers())
      if (item.value().is_floating_point()) item.value().copy_(means_[item.key()].take(mean)->values);
    SeenStep seen;
    seen.update = steps() + 1;
    seen.loss = losses_.take([](double a, double b) { return a + b; }).value_or(0) / (samples > 0 ? samples : 1);
    std::vector<at::Tensor> having;
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      std::optional<at::Tensor> g = sums_[i].take(sum);
      if (!g) continue;
      if (samples > 0) g->mul_(1 / samples);
      parameters_[i].mutable_grad() = *g;
      having.push_back(parameters_[i]);
    }
    // average() returns no norm.
    if (!is_own() && (rule().clip_norm > 0 || rule().skip)) seen.norm = norm(having);
    const std::vector<at::Tensor> before = rule().ema > 0 ? copies() : std::vector<at::Tensor>();
    seen.skipped = !optimizer_->step();
    if (!seen.skipped && rule().ema > 0) average(before);
    forget_gradients();
    if (is_seen) play_.note(step, which_, seen);
  }

 private:
  std::vector<at::Tensor> copies() const {
    std::vector<at::Tensor> out;
    for (const at::Tensor& p : parameters_) out.push_back(p.detach().clone());
    return out;
  }
  void take(const std::vector<at::Tensor>& values) {
    torch::NoGradGuard no_grad;
    for (std::size_t i = 0; i < parameters_.size(); ++i) parameters_[i].copy_(values[i]);
  }
  void average(const std::vector<at::Tensor>& before) {
    if (averages_.empty()) averages_ = before;
    for (std::size_t i = 0; i < parameters_.size(); ++i)
      averages_[i].mul_(rule().ema).add_(parameters_[i].detach(), 1 - rule().ema);
  }
  static at::Tensor sum(const at::Tensor& a, const at::Tensor& b) { return a + b; }
  struct Mean {
    at::Tensor values;
    int slices = 1;
  };
  static Mean mean(const Mean& a, const Mean& b) {
    const at::Tensor left = a.values.to(torch::kDouble), right = b.values.to(torch::kDouble);
    const double share = static_cast<double>(b.slices) / (a.slices + b.slices);
    const at::Tensor between = (left + (right - left) * share).to(a.values.scalar_type());
    return {torch::where(a.values == b.values, a.values, between), a.slices + b.slices};
  }
  /// Saves or restores the buffers: every slice starts with the values that they had at the step's beginning.
  void buffers_of_slice(bool first) {
    torch::NoGradGuard no_grad;
    for (const auto& item : play_.module(which_).named_buffers()) {
      if (first) first_buffers_[item.key()] = item.value().clone();
      else item.value().copy_(first_buffers_[item.key()]);
    }
  }
  static double norm(const std::vector<at::Tensor>& parameters) {
    double squares = 0;
    for (const at::Tensor& p : parameters) squares += p.grad().to(torch::kDouble).pow(2).sum().item<double>();
    return std::sqrt(squares);
  }
  bool is_own() const { return which_ == Which::model && play_.program.own_optimizer; }
  const Rule& rule() const { return which_ == Which::model ? play_.program.rule : play_.program.second_rule; }
  void forget_gradients() {
    for (at::Tensor& p : parameters_) p.mutable_grad() = at::Tensor();
  }

  Play& play_;
  Which which_;
  Names named_;
  std::vector<at::Tensor> parameters_;
  std::vector<at::Tensor> averages_;  // set from the first update on
  std::vector<update::TreeFold<at::Tensor>> sums_;
  update::TreeFold<double> losses_;
  std::optional<TorchOptimizer> optimizer_;
  std::map<std::string, at::Tensor> first_buffers_;
  std::map<std::string, update::TreeFold<Mean>> means_;
};

class Reference final : public Hands {
 public:
  explicit Reference(const Program& program)
      : program_(program), play_(program, init_seed(program, 0)), model_(play_, Which::model) {
    if (program.second) second_.emplace(play_, Which::second);
  }
  Outcome run() {
    make(1);
    play_.begin();
    for (const Loop& loop : program_.loops) {
      if (loop.remade != Remade::no) make(loop.rate);
      run(loop);
    }
    play_.averages(step_, *this);
    return play_.finish();
  }

  bool first() const override { return true; }
  void write(const std::function<void()>& f) override { f(); }
  double evaluate(const std::function<at::Tensor(const data::Batch&)>& loss) override {
    const KeepModes modes(*play_.net);
    torch::NoGradGuard no_grad;
    play_.net->eval();
    std::vector<std::int64_t> all;
    for (std::int64_t i = 0; i < kTestSamples; ++i) all.push_back(i);
    return loss(test_set(program_).get(all)).item<double>();
  }
  void save() override {}
  void set_rate(bool of_group, double lr) override { model_.set_rate(of_group, lr); }
  void tell_plateau(double loss) override { model_.tell_plateau(loss); }
  void with_averages(Which which, const std::function<void()>& f) override {
    if (which == Which::model) model_.with_averages(f);
    else second_->with_averages(f);
  }

 private:
  void make(double rate) {
    model_.make(rate);
    if (second_) second_->make(rate);
  }
  data::Batch batch(const Loop& loop, const Place& place) const {
    if (loop.kind == LoopKind::own) return own_batch(program_, place, own_samples(loop, place));
    const data::Slice slice = data::slice_of(loop.batch, program_.slices, place.slice);
    data::Sampler sampler({kSamples, loop.batch, loop.shuffle, program_.seed});
    std::vector<std::int64_t> indices(static_cast<std::size_t>(slice.size()));
    sampler.indices(model_.steps(), slice, indices);
    return training_set(program_).get(indices);
  }
  void seed(const Loop& loop, const Place& place) const {
    if (loop.kind == LoopKind::own) return play_.seed(place);
    torch::manual_seed(
        mix_seed(program_.seed, static_cast<std::uint64_t>(model_.steps()), static_cast<std::uint64_t>(place.slice)));
  }
  void run(const Loop& loop) {
    for (int i = 0; i < loop.steps; ++i, ++step_) {
      play_.events(step_, When::between, *this);
      play_.events(step_, When::fetched, *this);
      play_.events(step_, When::slices, *this);
      std::vector<data::Batch> batches;
      double samples = 0;
      for (int v = 0; v < program_.slices; ++v) {
        batches.push_back(batch(loop, {step_, v}));
        samples += static_cast<double>(batches.back().input.size(0));
      }
      const bool by_samples = is_uneven(loop, program_.slices);
      auto weight = [&](int v) {
        if (by_samples) return static_cast<double>(batches[static_cast<std::size_t>(v)].input.size(0));
        return 1.0 / program_.slices;
      };
      for (int v = 0; v < program_.slices; ++v) {
        seed(loop, {step_, v});
        model_.slice(batches[static_cast<std::size_t>(v)], {step_, v}, weight(v));
      }
      const bool is_seen = loop.kind != LoopKind::fit;
      model_.update(step_, by_samples ? samples : 0, is_seen);
      for (int v = 0; second_ && v < program_.slices; ++v) {
        play_.seed({step_, v});
        second_->slice(batches[static_cast<std::size_t>(v)], {step_, v}, weight(v));
      }
      if (second_) second_->update(step_, by_samples ? samples : 0, is_seen);
      // Under fit(), fit() evaluates for the schedule plateau.
      if (program_.rule.plateau && loop.kind == LoopKind::fit)
        model_.tell_plateau(evaluate([&](const data::Batch& b) { return play_.net->loss(b, {}); }));
    }
  }

  const Program& program_;
  Play play_;
  Side model_;
  std::optional<Side> second_;
  int step_ = 0;
};

}  // namespace

std::uint64_t init_seed(const Program& program, int worker) {
  return mix_seed(program.seed, 0x696e6974, static_cast<std::uint64_t>(worker));
}

Outcome run_reference(const Program& program) { return Reference(program).run(); }

}  // namespace cohaul::programs
