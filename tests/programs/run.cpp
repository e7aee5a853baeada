#include "run.h"

#include <torch/optim/optimizer.h>

#include "cohaul/observe/event.h"
#include "cohaul/train/trainer.h"
#include "cohaul/update/slices.h"
#include "play.h"
#include "reference.h"

namespace cohaul::programs {
namespace {

constexpr std::int64_t kTestBatch = 3;  // so small that some workers have none of the test set's batches

/// Returns the optimizer with the rule's own settings, without groups.
train::Optimizer plain_optimizer(const Rule& rule, double rate) {
  const auto non_finite = rule.skip ? train::NonFinite::skip : train::NonFinite::apply;
  const double lr = rule.lr * rate;
  switch (rule.kind) {
    case RuleKind::adam:
      return train::Adam{.lr = lr,
                         .eps = rule.eps,
                         .weight_decay = rule.decay,
                         .clip_norm = rule.clip_norm,
                         .clip_value = rule.clip_value,
                         .non_finite = non_finite};
    case RuleKind::adamw:
      return train::AdamW{.lr = lr,
                          .eps = rule.eps,
                          .weight_decay = rule.decay,
                          .clip_norm = rule.clip_norm,
                          .clip_value = rule.clip_value,
                          .non_finite = non_finite};
    case RuleKind::lars:
      return train::Lars{.lr = lr,
                         .momentum = rule.momentum,
                         .weight_decay = rule.decay,
                         .trust_coefficient = kTrustCoefficient,
                         .clip_norm = rule.clip_norm,
                         .clip_value = rule.clip_value,
                         .non_finite = non_finite};
    case RuleKind::lamb:
      return train::Lamb{.lr = lr,
                         .eps = rule.eps,
                         .weight_decay = rule.decay,
                         .clip_norm = rule.clip_norm,
                         .clip_value = rule.clip_value,
                         .non_finite = non_finite};
    case RuleKind::sgd: break;
  }
  return train::Sgd{.lr = lr,
                    .momentum = rule.momentum,
                    .dampening = rule.dampening,
                    .weight_decay = rule.decay,
                    .nesterov = rule.nesterov,
                    .clip_norm = rule.clip_norm,
                    .clip_value = rule.clip_value,
                    .non_finite = non_finite};
}

train::Optimizer optimizer_of(const Rule& rule, double rate) {
  train::Optimizer out = plain_optimizer(rule, rate);
  if (rule.gamma != 1)
    out.schedule = {.kind = train::Schedule::Kind::exponential, .warmup_steps = rule.warmup, .gamma = rule.gamma};
  if (rule.plateau)
    out.schedule = {
        .kind = train::Schedule::Kind::plateau, .warmup_steps = rule.warmup, .factor = kPlateauFactor, .patience = 0};
  for (const GroupOf& g : rule.grouped ? groups_of_parameters() : std::vector<GroupOf>()) {
    train::ParameterGroup group{.match = g.match, .weight_decay = g.decay};
    if (is_layerwise(rule.kind)) group.trust_ratio = g.trust;
    if (g.lr != 0) group.lr = g.lr * out.rule.lr;
    if (rule.kind == RuleKind::sgd && !rule.nesterov) group.momentum = g.momentum;
    out.groups.push_back(group);
  }
  return out;
}

class Silent final : public observe::Sink {
 public:
  void write(const observe::Event&) override {}
};

class Run final : public Hands {
 public:
  Run(job::Job& job, const Program& program, const strategy::Strategy& strategy, const std::string& folder)
      : job_(job),
        program_(program),
        strategy_(strategy),
        folder_(folder),
        mine_(update::slices_of(program.slices, job.rank(), job.world())),
        play_(program, init_seed(program, job.rank())) {}

  Outcome run() {
    if (program_.disagrees && job_.world() > 1) disagree();
    make(1);
    play_.begin();
    for (const Loop& loop : program_.loops) {
      if (loop.remade == Remade::reset) model_.reset(), second_.reset();
      if (loop.remade != Remade::no) make(loop.rate);
      play_.events(step_, When::between, *this);
      switch (loop.kind) {
        case LoopKind::own: own(loop); break;
        case LoopKind::batches: batches(loop); break;
        case LoopKind::fit: fit(loop); break;
      }
    }
    play_.averages(step_, *this);
    model_.reset(), second_.reset();
    return play_.finish();
  }

  bool first() const override { return job_.rank() == 0; }
  void write(const std::function<void()>& f) override { model_->write(f); }
  double evaluate(const std::function<at::Tensor(const data::Batch&)>& loss) override {
    return model_->evaluate(test_set(program_), loss, {}, kTestBatch).loss;
  }
  void set_rate(bool of_group, double lr) override {
    if (own_) return own_->set_rate(of_group, lr);
    if (of_group) model_->set_lr(0, lr);
    else model_->set_lr(lr);
  }
  void tell_plateau(double loss) override {
    if (own_) own_->tell_plateau(loss);
    else model_->plateau(loss);
  }
  void with_averages(Which which, const std::function<void()>& f) override {
    (which == Which::model ? model_ : second_)->with_ema(f);
  }
  void save() override { model_->save(folder_ + "/saved.safetensors"); }

 private:
  using Kept = std::vector<std::pair<data::Batch, Place>>;

  train::TrainerOptions trainer_options(double ema) {
    return {.slices = program_.slices, .seed = program_.seed, .ema = ema, .sink = &silent_};
  }

  /// Tries another rate at the last worker: all workers must get an error, and can go on.
  void disagree() {
    const bool other = job_.rank() + 1 == job_.world();
    std::string why = "nothing";
    try {
      train::Trainer(job_, play_.net, strategy_, optimizer_of(program_.rule, other ? 0.5 : 1),
                     trainer_options(program_.rule.ema));
    } catch (const Error& e) {
      why = e.what();
    }
    if (why.find("optimizer.lr is") == std::string::npos)
      throw std::logic_error("workers with different rates were told " + why);
  }

  void make(double rate) {
    if (program_.own_optimizer) {
      model_ = std::make_unique<train::Trainer>(job_, play_.net, strategy_, trainer_options(0));
      own_.emplace(program_.rule, rate, distinct_parameters(*play_.net));
    } else {
      model_ = std::make_unique<train::Trainer>(job_, play_.net, strategy_, optimizer_of(program_.rule, rate),
                                                trainer_options(program_.rule.ema));
    }
    if (program_.second)
      second_ =
          std::make_unique<train::Trainer>(job_, play_.second, strategy_, optimizer_of(program_.second_rule, rate),
                                           trainer_options(program_.second_rule.ema));
  }

  static train::StepOptions options(const Loop& loop, int slices, const data::Batch& batch) {
    return {.samples = is_uneven(loop, slices) ? static_cast<double>(batch.input.size(0)) : 0};
  }
  void note(int step, Which which, const train::StepResult& result, bool last) {
    if (result.complete != last) throw std::logic_error("complete says " + std::to_string(result.complete));
    if (last) play_.note(step, which, {result.loss, result.gradient_norm, result.skipped, result.update});
  }
  train::StepResult step(const at::Tensor& loss, const train::StepOptions& options = {}) {
    if (!own_) return model_->step(loss, options);
    train::StepResult result = model_->average(loss, options);
    if (result.complete) result.skipped = !own_->step();
    return result;
  }
  /// Does the second model's step, after the first one's.
  void train_second(const Loop& loop, const Kept& kept) {
    if (!second_) return;
    for (const auto& [batch, place] : kept) {
      play_.seed(place);
      const at::Tensor loss = play_.loss(Which::second, batch, place);
      note(place.step, Which::second, second_->step(loss, options(loop, program_.slices, batch)),
           place.slice + 1 == mine_.last);
    }
  }

  void own(const Loop& loop) {
    for (int i = 0; i < loop.steps; ++i, ++step_) {
      if (i > 0) play_.events(step_, When::between, *this);
      play_.events(step_, When::fetched, *this);
      Kept kept;
      for (int v = mine_.first; v < mine_.last; ++v) {
        const Place place{step_, v};
        play_.events(step_, When::slices, *this, v > mine_.first);
        kept.emplace_back(own_batch(program_, place, own_samples(loop, place)), place);
        play_.seed(place);
        const at::Tensor loss = play_.loss(Which::model, kept.back().first, place);
        note(step_, Which::model, step(loss, options(loop, program_.slices, kept.back().first)), v + 1 == mine_.last);
      }
      train_second(loop, kept);
    }
  }

  train::FitOptions fit_options(const Loop& loop) const {
    const int more = loop.left == Left::no ? 0 : 5;
    return {.batch = loop.batch, .steps = loop.steps + more, .shuffle = loop.shuffle, .log_every = 1'000};
  }

  void batches(const Loop& loop) {
    const Samples set = training_set(program_);
    const int end = step_ + loop.steps;
    int v = mine_.first;
    Kept kept;
    for (const data::Batch& batch : model_->batches(set, fit_options(loop))) {
      if (step_ == end && loop.left == Left::before) break;
      if (v == mine_.first) play_.events(step_, When::fetched, *this);
      play_.events(step_, When::slices, *this, v > mine_.first);
      const Place place{step_, v++};
      note(step_, Which::model, step(play_.loss(Which::model, batch, place)), v == mine_.last);
      kept.emplace_back(batch, place);
      if (v < mine_.last) continue;
      train_second(loop, kept);
      kept.clear();
      v = mine_.first;
      if (++step_ == end && loop.left == Left::after) break;
      if (step_ < end) play_.events(step_, When::between, *this);
    }
    if (step_ != end) throw std::logic_error("the loop ended at step " + std::to_string(step_));
  }

  void fit(const Loop& loop) {
    const Samples set = training_set(program_);
    const int end = step_ + loop.steps;
    int v = mine_.first;
    const Samples test = test_set(program_);
    auto loss = [&](const data::Batch& batch) {
      if (!play_.net->is_training()) return play_.net->loss(batch, {});
      at::Tensor out = play_.loss(Which::model, batch, {step_, v});
      if (++v == mine_.last) v = mine_.first, ++step_;
      return out;
    };
    train::FitOptions options = fit_options(loop);
    if (program_.rule.plateau) options.evaluation = {.set = &test, .every = 1, .batch = kTestBatch};
    model_->fit(set, loss, options);
    if (step_ != end) throw std::logic_error("fit ended at step " + std::to_string(step_));
  }

  job::Job& job_;
  const Program& program_;
  const strategy::Strategy& strategy_;
  const std::string& folder_;
  update::SliceRange mine_;
  Play play_;
  Silent silent_;
  std::unique_ptr<train::Trainer> model_, second_;
  std::optional<TorchOptimizer> own_;  // if the program has an optimizer of its own
  int step_ = 0;
};

}  // namespace

Outcome run_program(job::Job& job, const Program& program, const strategy::Strategy& strategy,
                    const std::string& folder) {
  Outcome failed;
  try {
    return Run(job, program, strategy, folder).run();
  } catch (const Error& e) {
    failed.status = e.status();
  } catch (const c10::Error& e) {
    failed.status = internal(e.what_without_backtrace());
  } catch (const std::exception& e) {
    failed.status = internal(e.what());
  }
  return failed;
}

}  // namespace cohaul::programs
