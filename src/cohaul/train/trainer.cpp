#include "cohaul/train/trainer.h"

#include "cohaul/train/trainer_run.h"

namespace cohaul::train {

Trainer::Trainer(job::Job& job, Model model, const strategy::Strategy& strategy, std::optional<Optimizer> optimizer,
                 const TrainerOptions& options)
    : run_(Run::make(job, std::move(model), strategy, std::move(optimizer), options)) {}

Trainer::~Trainer() {
  if (run_) run_->end();
}
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&& other) noexcept {
  if (this != &other) {
    if (run_) run_->end();
    run_ = std::move(other.run_);
  }
  return *this;
}

void Trainer::fit(const data::DataSet& set, const Loss& loss, const FitOptions& options) {
  run_->fit(set, loss, options);
}
Batches Trainer::batches(const data::DataSet& set, const FitOptions& options) {
  if (options.evaluation.set != nullptr)
    throw Error(invalid("FitOptions::evaluation is fit()'s: in a loop of your own, call evaluate()"));
  return Batches(run_, run_->begin_loop(set, options));
}
StepResult Trainer::step(const at::Tensor& loss, const StepOptions& options) {
  return run_->step(loss, options, false);
}
StepResult Trainer::average(const at::Tensor& loss, const StepOptions& options) {
  return run_->step(loss, options, true);
}
void Trainer::stop() { run_->stop(); }
void Trainer::set_lr(double lr) { run_->set_lr(std::nullopt, lr); }
void Trainer::set_lr(std::size_t group, double lr) { run_->set_lr(group, lr); }
void Trainer::with_ema(const std::function<void()>& f) { run_->with_ema(f); }
void Trainer::plateau(double loss) { run_->plateau(loss); }
void Trainer::write(const std::function<void()>& f) { run_->write(f); }
Evaluation Trainer::evaluate(const data::DataSet& set, const Loss& loss, const Metrics& metrics, std::int64_t batch) {
  return run_->evaluate(set, loss, metrics, batch);
}
NamedTensors Trainer::parameters() { return run_->parameters(); }
void Trainer::save(const std::string& path) { run_->save(path); }
void Trainer::save_checkpoint(const std::string& folder) { run_->save_checkpoint(folder); }
std::int64_t Trainer::resume(const std::string& folder) { return run_->resume(folder); }
std::string& Trainer::value(const std::string& name) { return run_->value(name); }
strategy::Engine& Trainer::engine() { return run_->engine(); }
std::int64_t Trainer::steps_done() const { return run_->done(); }
const StepTimes& Trainer::times() const { return run_->times(); }
void Trainer::close() { or_throw(run_->close()); }

std::optional<data::Batch> Batches::next() { return run_->next_batch(loop_); }
Batches::~Batches() {
  if (run_) run_->left(loop_);
}

}  // namespace cohaul::train
