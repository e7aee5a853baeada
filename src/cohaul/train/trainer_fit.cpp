// Trainer::fit(): the loop with its evaluations: when to stop, and which parameters to keep.

#include <algorithm>
#include <charconv>
#include <limits>

#include "cohaul/base/digits.h"
#include "cohaul/train/trainer_impl.h"
#include "cohaul/train/weights.h"

namespace cohaul::train {
namespace {

// Names of the values in which fit() keeps the state of its evaluations, so that checkpoints have it.
constexpr const char *kLoop = "fit.loop", *kDone = "fit.evaluated", *kBest = "fit.best", *kBestLoss = "fit.best_loss",
                     *kWorse = "fit.worse";

template <class T>
T number(const std::map<std::string, std::string>& values, const char* name, T otherwise) {
  const auto it = values.find(name);
  if (it == values.end()) return otherwise;
  std::from_chars(it->second.data(), it->second.data() + it->second.size(), otherwise);
  return otherwise;
}

}  // namespace

std::string& Trainer::Impl::value(const std::string& name) {
  if (name.starts_with(kFitValues))
    throw Error(invalid("value(\"" + name + "\"): names that begin with " + kFitValues + " are fit()'s"));
  return values_[name];
}

void Trainer::Impl::expect_evaluations(const FitOptions& options) const {
  const EvaluationOptions& e = options.evaluation;
  const auto wrong = [](const std::string& what) { throw Error(invalid("FitOptions::evaluation: " + what)); };
  if (e.set == nullptr) wrong("every, patience, keep_best and ema need a set");
  if (e.every < 1) wrong("every is " + std::to_string(e.every) + "; it must be at least 1 update");
  if (e.patience < 0) wrong("patience is " + std::to_string(e.patience) + "; it must not be below 0");
  if (e.ema && options_.ema == 0) wrong("ema evaluates averages, and TrainerOptions::ema is 0: set it, e.g. to 0.999");
  if (asynchronous())
    throw Error(unsupported(
        "evaluations in the middle of fit() need steps that all workers count alike: in asynchronous modes there are "
        "none; evaluate after the loop"));
  if (e.keep_best && splits_layers())
    throw Error(unsupported("the strategy tensor cannot keep the best parameters, of which each worker has a part"));
}

void Trainer::Impl::fit(const data::DataSet& set, const Loss& loss, const FitOptions& options) {
  const EvaluationOptions& e = options.evaluation;
  const bool evaluates = e.set != nullptr || e.every != 0 || e.patience != 0 || e.keep_best || e.ema;
  if (has_plateau() && !evaluates)
    throw Error(invalid(
        "the schedule plateau follows fit()'s evaluations, and there are none: set FitOptions::evaluation, or write a "
        "loop of your own that calls plateau(loss)"));
  if (evaluates) expect_evaluations(options);
  const std::int64_t loop = begin_loop(set, options);
  if (evaluates) begin_evaluations();
  // A checkpoint after a step is made before the step's evaluation, which may take long. So a resumed run may have to evaluate first.
  bool goes_on = !evaluates || !evaluation_is_due(e) || evaluate_and_judge(e, loss);
  while (goes_on) {
    const std::optional<data::Batch> batch = next_batch(loop);
    if (!batch) break;
    const StepResult result = step(loss(*batch), {}, false);
    if (!asynchronous()) checkpoint_if_due();
    if (evaluates && result.complete && evaluation_is_due(e)) goes_on = evaluate_and_judge(e, loss);
  }
  if (!goes_on) {
    const CheckpointOptions checkpoint = loop_.options().checkpoint;
    leave_loop(false);
    if (!checkpoint.folder.empty()) (void)checkpoint_of_loop(checkpoint, Wait::yes).ok();
  }
  if (evaluates && e.keep_best) restore_best(loop, e.ema);
}

void Trainer::Impl::begin_evaluations() {
  if (number<std::int64_t>(values_, kLoop, 0) >= loop_.number()) return;  // the loop continues from a checkpoint
  std::erase_if(values_, [](const auto& v) { return v.first.starts_with(kFitValues) && v.first != kPlateau; });
  values_[kLoop] = std::to_string(loop_.number());
  best_.clear();
}

/// Returns whether the last update has still to be evaluated.
bool Trainer::Impl::evaluation_is_due(const EvaluationOptions& e) const {
  const std::int64_t done = done_ - loop_.first();
  if (number<std::int64_t>(values_, kLoop, 0) != loop_.number() || done <= 0) return false;
  if (done % e.every != 0 && done_ != loop_.last()) return false;
  return number<std::int64_t>(values_, kDone, -1) < done_;
}

double Trainer::Impl::best_loss() const { return number(values_, kBestLoss, std::numeric_limits<double>::infinity()); }

/// Evaluates, and returns whether training goes on. All workers get the same result.
bool Trainer::Impl::evaluate_and_judge(const EvaluationOptions& e, const Loss& loss) {
  double now = 0;
  NamedTensors copy;
  const auto look = [&] {
    now = evaluate(*e.set, loss, e.metrics, e.batch).loss;
    if (e.keep_best && job_.rank() == 0 && now < best_loss()) copy = copy_of_all();
  };
  if (e.ema) with_ema(look);
  else look();
  if (has_plateau()) plateau(now);
  const double best = best_loss();
  values_[kDone] = std::to_string(done_);
  if (now < best) {
    values_[kBestLoss] = digits_of(now);
    values_[kBest] = std::to_string(done_);
    values_[kWorse] = "0";
    if (job_.rank() == 0) best_ = std::move(copy);
    return true;
  }
  const std::int64_t worse = number<std::int64_t>(values_, kWorse, 0) + 1;
  values_[kWorse] = std::to_string(worse);
  if (e.patience == 0 || worse < e.patience || done_ >= loop_.last()) return true;
  if (job_.rank() == 0)
    telling_.tell({"stopped_early",
                   {{"step", done_},
                    {"evaluations", worse},
                    {"best_step", number<std::int64_t>(values_, kBest, 0)},
                    {"best_loss", best}}});
  return false;
}

/// Returns copies of parameters and buffers.
NamedTensors Trainer::Impl::copy_of_all() {
  NamedTensors out = parameters();
  for (const auto& [name, t] : model_->model().buffers)
    if (t.defined()) out.emplace_back(name, t.detach().clone());
  return out;
}

/// Gives the model the parameters and buffers of this loop's best evaluation. averages: the evaluation was of the moving averages.
void Trainer::Impl::restore_best(std::int64_t loop, bool averages) {
  const auto best = number<std::int64_t>(values_, kBest, 0);
  if (number<std::int64_t>(values_, kLoop, 0) != loop || best == 0 || (best == done_ && !averages)) return;
  if (job_.rank() == 0 && best_.empty())
    throw Error(invalid("the checkpoint that this run goes on from has no parameters of the best evaluation (step " +
                        std::to_string(best) + "): it was written without keep_best"));
  write([&] {
    for (const NamedTensors* list : {&model_->model().parameters, &model_->model().buffers})
      for (const auto& [name, t] : *list) {
        const auto it = std::ranges::find(best_, name, &NamedTensors::value_type::first);
        if (it != best_.end() && t.defined()) t.copy_(it->second);
      }
  });
}

}  // namespace cohaul::train
