#include "cohaul/train/trainer.h"

#include "cohaul/train/trainer_impl.h"

namespace cohaul::train {

Trainer::Trainer(job::Job& job, Model model, const strategy::Strategy& strategy, std::optional<Optimizer> optimizer,
                 const TrainerOptions& options)
    : impl_(Impl::make(job, std::move(model), strategy, std::move(optimizer), options)) {}

Trainer::~Trainer() {
  if (impl_) impl_->end();
}
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&& other) noexcept {
  if (this != &other) {
    if (impl_) impl_->end();
    impl_ = std::move(other.impl_);
  }
  return *this;
}

void Trainer::fit(const data::DataSet& set, const Loss& loss, const FitOptions& options) {
  impl_->fit(set, loss, options);
}
Batches Trainer::batches(const data::DataSet& set, const FitOptions& options) {
  if (options.evaluation.set != nullptr)
    throw Error(invalid("FitOptions::evaluation is fit()'s: in a loop of your own, call evaluate()"));
  return Batches(impl_, impl_->begin_loop(set, options));
}
StepResult Trainer::step(const at::Tensor& loss, const StepOptions& options) {
  return impl_->step(loss, options, false);
}
StepResult Trainer::average(const at::Tensor& loss, const StepOptions& options) {
  return impl_->step(loss, options, true);
}
void Trainer::stop() { impl_->stop(); }
void Trainer::set_lr(double lr) { impl_->set_lr(std::nullopt, lr); }
void Trainer::set_lr(std::size_t group, double lr) { impl_->set_lr(group, lr); }
void Trainer::with_ema(const std::function<void()>& f) { impl_->with_ema(f); }
void Trainer::plateau(double loss) { impl_->plateau(loss); }
void Trainer::write(const std::function<void()>& f) { impl_->write(f); }
Evaluation Trainer::evaluate(const data::DataSet& set, const Loss& loss, const Metrics& metrics, std::int64_t batch) {
  return impl_->evaluate(set, loss, metrics, batch);
}
NamedTensors Trainer::parameters() { return impl_->parameters(); }
void Trainer::save(const std::string& path) { impl_->save(path); }
void Trainer::save_checkpoint(const std::string& folder) { impl_->save_checkpoint(folder); }
std::int64_t Trainer::resume(const std::string& folder) { return impl_->resume(folder); }
std::string& Trainer::value(const std::string& name) { return impl_->value(name); }
strategy::Engine& Trainer::engine() { return impl_->engine(); }
std::int64_t Trainer::steps_done() const { return impl_->done(); }
const StepTimes& Trainer::times() const { return impl_->times(); }
void Trainer::close() { or_throw(impl_->close()); }

std::optional<data::Batch> Batches::next() { return impl_->next_batch(loop_); }
Batches::~Batches() {
  if (impl_) impl_->left(loop_);
}

}  // namespace cohaul::train
