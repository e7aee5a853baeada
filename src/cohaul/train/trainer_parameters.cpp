// The parameters between steps: changes by the user, write(), with_ema(), save(), and the mean gradients of average().

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_strided.h>

#include <algorithm>
#include <cstring>

#include "cohaul/base/last_operations.h"
#include "cohaul/train/job_facts.h"
#include "cohaul/train/tensor_files.h"
#include "cohaul/train/trainer_impl.h"
#include "cohaul/train/weights.h"
#include "cohaul/update/plateau.h"

namespace cohaul::train {

/// Follows, or refuses, what the user has done to the parameters since the last step.
void Trainer::Impl::follow_changes() {
  const BorrowedModel::Change change = or_throw(model_->look());
  if (!change.any()) return;
  const std::string& name = change.replaced.empty() ? change.written : change.replaced;
  if (asynchronous() && loop_.running())
    throw Error(invalid(
        "parameter " + name +
        " was written by hand within an asynchronous loop, where no moment is the same for all workers: end the "
        "loop first, and use trainer.write()"));
  if (job_.world() > 1) {
    if (!change.written.empty())
      throw Error(
          invalid("parameter " + change.written +
                  " was written by hand, which only this worker knows: write parameters in trainer.write(f), which "
                  "all workers call and which gives the result to all"));
    expect_equal_replacements(change.replaced);
  }
  or_throw(model_->follow());
  spread_parameters(Spread::equal);
}

/// Checks that all workers have replaced parameters, as torch::load does, by equal ones.
void Trainer::Impl::expect_equal_replacements(const std::string& parameter) {
  const std::string facts =
      "the parameters' hash=" + sha256(or_throw(whole_parameters(model_->model(), nullptr))) + "\n";
  Status met = meetings_.meet("loading other parameters", done_, facts);
  or_throw(met.context("parameter " + parameter +
                       " has other memory since the last step, as torch::load gives it, so all workers "
                       "must load the same"));
}

/// Gives worker 0's parameters to all workers.
void Trainer::Impl::spread_parameters(Spread what) {
  if (!optimizer_ && job_.rank() == 0) model_->copy_to(engine_->exchange().parameters());
  if (job_.rank() == 0 && what == Spread::changed) buffers_->put();
  or_throw(engine_->write([this] { return meetings_.meet("write()", done_); }, soon()));
  if (what == Spread::changed) {
    broadcast_counters();
    buffers_->take();
  }
  if (!optimizer_) model_->copy_from(engine_->exchange().parameters());
  // If all workers had them already, a loss that was computed from them can still be used.
  if (optimizer_ && what == Spread::changed) model_->updated([](std::int32_t) { return true; });
  if (optimizer_) model_->settled();
}

/// Gives all workers worker 0's values of the buffers that the exchange does not carry.
void Trainer::Impl::broadcast_counters() {
  if (job_.world() == 1 || buffers_->counter_facts().empty()) return;
  const std::string key = meetings_.group() + "/counters/" + std::to_string(writes_++);
  if (job_.rank() == 0) or_throw(say(key, buffers_->counters_text()));
  else buffers_->set_counters(or_throw(hear(0, key)));
}

void Trainer::Impl::write(const std::function<void()>& f) {
  expect_usable();
  settle();
  expect_between_steps("write()");
  expect_own_values("write()");
  if (loop_.running() && asynchronous())
    throw Error(
        invalid("write() within an asynchronous loop: workers are in different steps there; end the loop first"));
  if (splits_layers())
    throw Error(unsupported(
        "write() cannot write layers of which each worker has a part: load them before the trainer is made"));
  note_operation("write parameters");
  if (optimizer_) follow_changes();
  or_throw(meetings_.meet("write()", done_));
  if (job_.rank() == 0) {
    at::NoGradGuard no_grad;
    f();
    or_throw(model_->look());
    if (optimizer_) or_throw(model_->follow());
  }
  spread_parameters(Spread::changed);
}

/// Swaps averages and parameters at all workers.
void Trainer::Impl::swap_averages() {
  const auto meet = [this] { return meetings_.meet("with_ema()", done_); };
  or_throw(meet());
  or_throw(engine_->swap_averages(meet, soon()));
  model_->updated([](std::int32_t) { return true; });
  model_->settled();
  averaged_ = !averaged_;
}

void Trainer::Impl::with_ema(const std::function<void()>& f) {
  expect_usable();
  settle();
  expect_between_steps("with_ema()");
  expect_own_values("with_ema()");
  if (options_.ema == 0)
    throw Error(invalid("with_ema(): this trainer keeps no averages: set TrainerOptions::ema, e.g. to 0.999"));
  if (loop_.running() && asynchronous())
    throw Error(
        invalid("with_ema() within an asynchronous loop: workers are in different steps there; end the loop first"));
  note_operation("swap parameters and averages");
  follow_changes();
  swap_averages();
  try {
    f();
  } catch (...) {
    // The error of f is reported, even if swapping back fails.
    try {
      if (broken_.ok()) swap_averages();
    } catch (const Error& e) {
      broken_ = e.status();
    }
    throw;
  }
  expect_usable();
  if (const BorrowedModel::Change change = or_throw(model_->look()); change.any()) {
    broken_ = invalid("parameter " + (change.replaced.empty() ? change.written : change.replaced) +
                      " was written within with_ema(f), where it is an average: write before or after it");
    throw Error(broken_);
  }
  swap_averages();
}

/// Throws invalid if the parameters are averages at the moment.
void Trainer::Impl::expect_own_values(const std::string& call) const {
  if (averaged_)
    throw Error(invalid(call + " within with_ema(f): the parameters are averages there; f evaluates and saves"));
}

void Trainer::Impl::expect_between_steps(const std::string& call) const {
  if (work_ && slice_ != work_->slices.first)
    throw Error(invalid(call + " within a step: answer all its slices first"));
}

void Trainer::Impl::set_lr(std::optional<std::size_t> group, double lr) {
  expect_usable();
  settle();
  if (!rates_) throw Error(unsupported("this trainer has no optimizer, so no learning rate: set your optimizer's own"));
  or_throw(update::check_lr(lr));
  if (group && *group >= optimizer_->groups.size())
    throw Error(invalid("set_lr(" + std::to_string(*group) + ", …): the optimizer has " +
                        std::to_string(optimizer_->groups.size()) + " groups, which count from 0"));
  expect_between_steps("set_lr()");
  if (loop_.running() && asynchronous())
    throw Error(
        invalid("set_lr() within an asynchronous loop: workers are in different steps there; end the loop first"));
  std::vector<double> rates(rates_->own().begin(), rates_->own().end());
  if (group) rates[*group + 1] = lr;
  for (std::size_t g = 0; !group && g < rates.size(); ++g)
    if (g == 0 || !optimizer_->groups[g - 1].lr) rates[g] = lr;
  set_rates(rates);
}

void Trainer::Impl::plateau(double loss) {
  expect_usable();
  settle();
  if (!has_plateau())
    throw Error(invalid(
        "plateau(loss): the optimizer's schedule is not plateau: set Schedule::kind to Schedule::Kind::plateau"));
  expect_between_steps("plateau()");
  const Schedule& schedule = optimizer_->schedule;
  if (done_ < schedule.warmup_steps) return;
  update::Plateau plateau(schedule);
  or_throw(plateau.read(values_[kPlateau]));
  const bool falls = plateau.observe(loss);
  values_[kPlateau] = plateau.text();
  if (!falls) return;
  const update::OptimizerSettings settings = or_throw(optimizer_->settings());
  std::vector<double> rates(rates_->own().begin(), rates_->own().end());
  for (std::size_t g = 0; g < rates.size(); ++g) rates[g] = plateau.reduced(rates[g], settings.groups[g].lr);
  set_rates(rates);
}

void Trainer::Impl::set_rates(const std::vector<double>& rates) {
  rates_->set(rates);
  or_throw(engine_->exchange().set_rates(rates));
  rates_by_hand_ = true;
  new_rates_ = rates_facts(rates);
}

NamedTensors Trainer::Impl::parameters() {
  if (!model_) throw Error(broken_);
  return or_throw(whole_parameters(model_->model(), options_.layer_group));
}

void Trainer::Impl::save(const std::string& path) {
  const NamedTensors whole = parameters();
  if (job_.rank() == 0) or_throw(train::save(path, whole, model_->model().buffers));
}

/// Copies the mean gradients, which the exchange has put in place of the parameters, to `.grad` of each parameter for which a worker had a gradient.
void Trainer::Impl::leave_mean_gradients() {
  const std::vector<at::Tensor>& parameters = reducer_->parameters();
  std::vector<float> present(parameters.size());
  for (std::size_t p = 0; p < parameters.size(); ++p)
    present[p] = parameters[p].defined() && !reducer_->was_absent(static_cast<std::int32_t>(p)) ? 1 : 0;
  if (collective::Group* group = engine_->group()) or_throw(group->all_reduce(collective::buffer(std::span(present))));
  const Bytes flat = engine_->exchange().parameters();
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    if (present[p] == 0) continue;
    const at::Tensor& t = parameters[p];
    at::Tensor grad = at::empty_strided(t.sizes(), t.strides(), t.options().requires_grad(false));
    if (grad.nbytes() > 0)
      std::memcpy(grad.mutable_data_ptr(), flat.data() + model_->layout().offset(static_cast<std::int32_t>(p)),
                  grad.nbytes());
    t.mutable_grad() = grad;
  }
}

}  // namespace cohaul::train
