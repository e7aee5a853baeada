#include "cohaul/train/trainer_impl.h"

#include <ATen/ops/scalar_tensor.h>

#include <exception>
#include <map>
#include <utility>

#include "cohaul/base/last_operations.h"
#include "cohaul/base/mutex.h"
#include "cohaul/gradient/arena_allocator.h"
#include "cohaul/train/job_facts.h"

namespace cohaul::train {

/// Ends a trainer when the job is closed, so that nothing of it outlives the job.
struct Trainer::Impl::EndsWithJob {
  std::weak_ptr<Impl> impl;
  explicit EndsWithJob(std::weak_ptr<Impl> i) : impl(std::move(i)) {}
  ~EndsWithJob() {
    if (auto i = impl.lock()) i->end();
  }
  EndsWithJob(const EndsWithJob&) = delete;
};

/// The living trainers by job. A mutex is needed because jobs of one process may be on several threads.
struct Trainer::Impl::Living {
  Mutex mutex;
  std::map<const job::Job*, std::vector<Impl*>> trainers COHAUL_GUARDED_BY(mutex);
  static Living& all() {
    static Living living;
    return living;
  }
  void add(Impl* trainer) {
    const MutexLock lock(mutex);
    trainers[&trainer->job_].push_back(trainer);
  }
  void remove(Impl* trainer) {
    const MutexLock lock(mutex);
    const auto of_job = trainers.find(&trainer->job_);
    if (of_job == trainers.end()) return;
    std::erase(of_job->second, trainer);
    if (of_job->second.empty()) trainers.erase(of_job);
  }
};

std::vector<Trainer::Impl*> Trainer::Impl::living_trainers(const job::Job& job) {
  Living& living = Living::all();
  const MutexLock lock(living.mutex);
  const auto of_job = living.trainers.find(&job);
  return of_job == living.trainers.end() ? std::vector<Impl*>() : of_job->second;
}

Trainer::Impl::Impl(job::Job& job, std::optional<Optimizer> optimizer, const TrainerOptions& options)
    : job_(job),
      optimizer_(std::move(optimizer)),
      options_(options),
      number_(job.count("trainer")),
      meetings_(job, number_),
      telling_(job, options.sink),
      writer_(job) {}

std::shared_ptr<Trainer::Impl> Trainer::Impl::make(job::Job& job, Model model, const strategy::Strategy& strategy,
                                                   std::optional<Optimizer> optimizer, const TrainerOptions& options) {
  if (optimizer) or_throw(optimizer->check());
  if (options.ema != 0 && !optimizer)
    throw Error(unsupported(
        "TrainerOptions::ema: averages are kept where parameters are updated, and this trainer has no optimizer"));
  std::shared_ptr<Impl> impl(new Impl(job, std::move(optimizer), options));
  impl->set_up(std::move(model), strategy);
  Living::all().add(impl.get());
  auto guard = std::make_shared<EndsWithJob>(impl);
  impl->last_words_ = job.at_close([guard] {
    auto i = guard->impl.lock();
    return i ? i->close() : Status();
  });
  return impl;
}

/// Refuses a model with a layer of the whole batch unless every worker has one slice of each step.
void Trainer::Impl::expect_one_slice_each(const strategy::Strategy& strategy) const {
  const bool one_each = options_.slices == 0 || options_.slices == job_.world();
  if (one_each && !strategy::is_asynchronous(strategy) && !std::holds_alternative<strategy::Tensor>(strategy)) return;
  throw Error(unsupported(
      "the model has a layer of the whole batch (SyncBatchNorm), so each worker must have one slice of each step: use "
      "single, all_reduce or synchronous servers, and leave TrainerOptions::slices at 0 or at the number of workers (" +
      std::to_string(job_.world()) + ")"));
}

/// Refuses watch_gradients where no worker has a whole gradient: in asynchronous modes, and where each worker has a part of the model.
void Trainer::Impl::expect_watchable(const strategy::Strategy& strategy) const {
  if (options_.watch_gradients < 0)
    throw Error(invalid("TrainerOptions::watch_gradients is " + std::to_string(options_.watch_gradients) +
                        "; it must be a number of updates, or 0 for none"));
  const bool split = std::holds_alternative<strategy::Tensor>(strategy);
  if (options_.watch_gradients == 0 || (!split && !strategy::is_asynchronous(strategy))) return;
  throw Error(
      unsupported(std::string("TrainerOptions::watch_gradients tells norms of the whole batch's gradients, which ") +
                  (split ? "nobody has under tensor" : "asynchronous servers do not have") +
                  ": use single, all_reduce or synchronous servers, or leave it at 0"));
}

void Trainer::Impl::set_up(Model model, const strategy::Strategy& strategy) {
  if (model.whole_batch) expect_one_slice_each(strategy);
  expect_watchable(strategy);
  strategy_ = strategy::name(strategy);
  std::vector<const transport::Arena*> lend;
  if (options_.allocator == Allocator::arena) lend.push_back(or_throw(gradient::install_arena_allocator()));
  model_ = or_throw(BorrowedModel::of(std::move(model), optimizer_, buffers_policy(strategy)));
  or_throw(meetings_.meet("a trainer's making", 0, trainer_facts(strategy, optimizer_, options_, *model_)));
  if (has_plateau() && strategy::is_asynchronous(strategy))
    throw Error(
        unsupported("the schedule plateau follows evaluations between steps that all workers count alike: in "
                    "asynchronous modes there are "
                    "none; choose another schedule, or a synchronous strategy"));
  small_ = or_throw(transport::Arena::create("cohaul gradients", gradient::small_bytes(model_->layout(), parts_max())));
  strategy::EngineOptions o;
  o.trainer = number_;
  o.layout = &model_->layout();
  if (optimizer_) {
    o.optimizer = or_throw(optimizer_->settings());
    o.optimizer.ema = options_.ema;
    or_throw(o.optimizer.check().context("TrainerOptions"));
    o.policy = optimizer_->policy;
    rates_.emplace(o.optimizer);
  } else {
    o.optimizer = update::RuleSettings{.kind = update::RuleSettings::Kind::store};
  }
  o.policy.watch_every = options_.watch_gradients;
  o.slices = options_.slices;
  o.own_optimizer = !optimizer_.has_value();
  lend.push_back(&small_);
  o.lend = lend;
  o.watch = &meetings_;
  o.places = places();
  engine_ = or_throw(strategy::make_engine(strategy, job_, o));
  if (!optimizer_ && !engine_->capabilities().average)
    throw Error(unsupported("an optimizer of your own (average()) works with single and all_reduce; under " +
                            std::string(strategy::name(strategy)) +
                            " give the trainer an optimizer, e.g. cohaul::Sgd{.lr = 0.01}"));
  broadcast_first_parameters();
  reducer_ =
      std::make_unique<gradient::Reducer>(model_->layout(), model_->parameters(), engine_->exchange(), small_.bytes());
  reducers_seen_ = gradient::reducers_made();
  const bool several = engine_->slices() > engine_->capabilities().data_parallel;
  buffers_.emplace(buffers_policy(strategy), model_->layout(), model_->buffers(), engine_->exchange(), small_.bytes(),
                   several);
}

/// Returns the positions of this worker's parts in the whole parameters. Worker 0 writes parameters that are not split into checkpoints.
std::vector<strategy::Place> Trainer::Impl::places() const {
  std::vector<strategy::Place> out;
  const Model& model = model_->model();
  if (model.split.empty()) return out;
  const std::vector<at::Tensor> parameters = model_->parameters();
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    const parallel::SplitParameter* split = model.split_of(model_->layout().parameters()[p].name);
    const std::int64_t rows = split ? split->part.size() : 0;
    const std::int64_t of_row = rows > 0 ? parameters[p].numel() / rows : 0;
    out.push_back({split ? static_cast<std::uint64_t>(split->part.begin * of_row) : 0, split || job_.rank() == 0});
  }
  return out;
}

/// Returns what happens to buffers. They stay as they are where a step has one slice, and in asynchronous modes.
Buffers Trainer::Impl::buffers_policy(const strategy::Strategy& strategy) const {
  const bool alone = job_.world() == 1 || std::holds_alternative<strategy::Tensor>(strategy);
  return strategy::is_asynchronous(strategy) || (alone && options_.slices <= 1) ? Buffers::own : options_.buffers;
}

/// Returns the largest number of parts that a worker may have in a step, whichever its slices are.
std::size_t Trainer::Impl::parts_max() const {
  std::size_t most = 1;
  for (int w = 0; w < job_.world() && options_.slices >= job_.world(); ++w)
    most = std::max(most, update::subtrees_of(update::slices_of(options_.slices, w, job_.world())).size());
  return most;
}

/// Gives worker 0's parameters and buffers to all workers, except layers of which each worker has a part.
void Trainer::Impl::broadcast_first_parameters() {
  update::Exchange& exchange = engine_->exchange();
  const update::Layout& layout = model_->layout();
  if (splits_layers() && (options_.layer_group == nullptr || model_->model().split.empty()))
    throw Error(unsupported(
        "the strategy tensor splits layers that a factory makes, and this model has none: make its layers with "
        "cohaul::parallel::tensor_parallel_layers(group), name the split parameters in Model::split, and give "
        "TrainerOptions::layer_group the same group; or choose all_reduce"));
  if (job_.rank() == 0 || splits_layers()) model_->copy_to(exchange.parameters());
  or_throw(exchange.start(steady_clock().now() + seconds(job_.options().join_timeout_s)));
  for (std::size_t i = 0; splits_layers() && i < layout.parameters().size(); ++i) {
    const update::ParameterSpec& p = layout.parameters()[i];
    if (model_->model().split_of(p.name)) continue;
    const auto index = static_cast<std::int32_t>(i);
    const std::size_t elements = layout.bytes(index) / size_of(p.dtype);
    or_throw(
        options_.layer_group->broadcast({exchange.parameters().data() + layout.offset(index), elements, p.dtype}, 0));
  }
  model_->copy_from(exchange.parameters());
  if (optimizer_) model_->adopt(exchange.parameters(), engine_->memory());
}

Trainer::Impl::~Impl() { end(); }

// Sends nothing: everything that others need of this process was sent at the end of the last step.
void Trainer::Impl::end() {
  if (std::exchange(ended_, true)) return;
  (void)finish_checkpoint().ok();
  Living::all().remove(this);
  if (broken_.ok()) broken_ = invalid("the trainer has ended");
  requests_.reset();
  job_.forget_at_close(last_words_);
  if (model_) model_->give_back();
  reducer_.reset();
  buffers_.reset();
  const bool left_early = engine_ != nullptr;
  engine_.reset();
  if (left_early && std::uncaught_exceptions() == 0) meetings_.part(done_);
  gradient::give_back_free_memory();
}

Status Trainer::Impl::close() {
  if (ended_ || !engine_) return {};
  (void)finish_checkpoint().ok();
  if (!broken_.ok()) return broken_;
  try {
    settle();
  } catch (const Error& e) {
    return e.status();
  }
  COHAUL_TRY(meetings_.meet("close()", done_));
  Living::all().remove(this);
  Status closed = engine_->close();
  model_->give_back();
  reducer_.reset();
  buffers_.reset();
  engine_.reset();
  broken_ = invalid("the trainer is closed");
  return closed;
}

strategy::Engine& Trainer::Impl::engine() {
  if (!engine_) throw Error(broken_);
  return *engine_;
}

Time Trainer::Impl::soon() const { return steady_clock().now() + seconds(job_.options().step_timeout_s); }

Status Trainer::Impl::say(const std::string& key, const Result<std::string>& what) {
  return job_.set(key, what.ok() ? "=" + *what : "!" + what.status().message());
}

/// Blocks until the worker has said something under the key, and returns it. invalid: the error that it reported.
Result<std::string> Trainer::Impl::hear(int worker, const std::string& key) {
  Result<std::string> said = job_.get_from(worker, key, soon());
  if (!said.ok()) return said;
  if (said->starts_with('!')) return invalid(said->substr(1));
  said->erase(0, 1);
  return said;
}

void Trainer::Impl::expect_usable() {
  if (!broken_.ok()) throw Error(broken_);
  expect_ownership();
}

void Trainer::Impl::expect_ownership() {
  const std::uint64_t made = gradient::reducers_made();
  if (reducers_seen_ == made) return;
  for (std::size_t p = 0; p < model_->layout().parameters().size(); ++p) {
    const auto index = static_cast<std::int32_t>(p);
    if (!model_->layout().is_trained(index) || reducer_->owns(index)) continue;
    broken_ = invalid("parameter " + model_->layout().parameters()[p].name +
                      " belongs to a newer trainer, so this one can train no more: one parameter has one trainer");
    throw Error(broken_);
  }
  reducers_seen_ = made;
}

// ---- the loop

std::int64_t Trainer::Impl::begin_loop(const data::DataSet& set, const FitOptions& options) {
  expect_usable();
  settle();
  expect_own_values("a loop");
  const FitOptions resolved = or_throw(resolve(options, set.size(), engine_->slices()));
  if (asynchronous() && !options.checkpoint.folder.empty()) {
    or_throw(meetings_.meet("an asynchronous loop with checkpoints", 0));  // all workers have left the loop before
    or_throw(count_all());
  }
  done_ = engine_done();
  loop_.begin(set, resolved, options_.seed, done_, asynchronous() ? new_rates_ : std::string());
  go_on_with_loop();
  begin_checkpoints();
  telling_.begin_loop(loop_);
  return loop_.number();
}

void Trainer::Impl::left(std::int64_t loop) {
  if (loop_.running() && loop == loop_.number()) left_loop_ = loop;
}

/// Ends a loop that was left, so that another one can begin.
void Trainer::Impl::settle() {
  if (loop_.running() && left_loop_ == loop_.number()) leave_loop(false);
}

void Trainer::Impl::leave_loop(bool stop) {
  left_loop_ = 0;
  const bool unfinished = work_.has_value();
  // The last step may be one after which a checkpoint is due.
  if (!unfinished && !asynchronous()) checkpoint_if_due();
  if (unfinished) drop_step();
  if (!broken_.ok()) throw Error(broken_);
  or_throw(engine_->leave_loop(stop, unfinished));
  done_ = engine_done();
  const CheckpointOptions checkpoint = loop_.options().checkpoint;
  const bool rounds = has_rounds();
  if (rounds) leave_round(stop);
  telling_.end_loop(done_ - loop_.start());
  loop_.end();
  if (rounds && !somebody_left_) (void)checkpoint_of_loop(checkpoint, Wait::yes).ok();
  (void)finish_checkpoint().ok();
  end_requests();
}

void Trainer::Impl::stop() {
  expect_usable();
  if (loop_.running()) leave_loop(true);
}

std::optional<data::Batch> Trainer::Impl::next_batch(std::int64_t loop) {
  expect_usable();
  if (!loop_.running() || loop != loop_.number()) return std::nullopt;
  expect_own_values("the next batch");
  if (batch_out_) throw Error(invalid("a batch was not answered: call step(loss) or average(loss) once for each"));
  if (!work_ && !asynchronous()) checkpoint_if_due();
  if (!work_ && !open_step_of_loop()) {
    done_ = engine_done();
    telling_.end_loop(done_ - loop_.start());
    const CheckpointOptions checkpoint = loop_.options().checkpoint;
    const bool grown = done_ > loop_.start();
    loop_.end();
    if (grown && !checkpoint.folder.empty() && !somebody_left_) (void)checkpoint_of_loop(checkpoint, Wait::yes).ok();
    end_requests();
    return std::nullopt;
  }
  batch_out_ = true;
  if (slice_ == work_->slices.first) buffers_->remember();
  return loop_.batch(update_of(*work_), work_->slices.count, slice_);
}

bool Trainer::Impl::open_step_of_loop() {
  while (!open_step())
    if (!next_round()) return false;
  return true;
}

bool Trainer::Impl::open_step() {
  const std::int64_t next = engine_->loop().done;
  const update::Loop one{next, next + 1, 0, loop_.number(), {}};
  work_ = or_throw(engine_->next(loop_.running() ? loop_.bounds() : one));
  if (asynchronous()) {
    for (strategy::ReportedUpdate& update : engine_->take_reports()) {
      update.number += offset_;
      telling_.tell(update, loop_, true);
    }
    model_->updated([](std::int32_t) { return true; });
  }
  if (!work_) return false;
  prepare_step();
  return true;
}

void Trainer::Impl::prepare_step() {
  slice_ = work_->slices.first;
  parts_ = update::subtrees_of(work_->slices);
  ends_.clear();
  note_operation("compute step", update_of(*work_));
}

/// Begins the open step, before its first backward.
void Trainer::Impl::begin_step() {
  const bool first = loop_.running() && loop_.is_first(update_of(*work_)) && !asynchronous();
  or_throw(engine_->exchange().begin(*work_, first ? loop_.facts() + new_rates_ : new_rates_));
  reducer_->begin(work_->slices);
  buffers_->begin(parts_);
}

/// Gives up the open step.
void Trainer::Impl::drop_step() {
  reducer_->abandon();
  buffers_->abandon();
  losses_ = {};
  samples_ = 0;
  batch_out_ = false;
  const Status abandoned = engine_->exchange().abandon();
  if (!abandoned.ok()) broken_ = abandoned;
  work_.reset();
}

// ---- a step

StepResult Trainer::Impl::step(const at::Tensor& loss, const StepOptions& options, bool average) {
  expect_usable();
  if (average && optimizer_)
    throw Error(unsupported("average(loss) is for an optimizer of your own: make the trainer without one"));
  if (!average && !optimizer_)
    throw Error(unsupported("this trainer has no optimizer: call average(loss), or give it one"));
  if (!loss.defined() || loss.numel() != 1)
    throw Error(invalid("step() takes the mean loss of the slice, a tensor of one element"));
  if (!(options.samples >= 0) || options.samples > 1e300)
    throw Error(
        invalid("StepOptions::samples is " + std::to_string(options.samples) + "; it must be a count of samples"));
  settle();
  expect_own_values("step()");
  if (!work_ && asynchronous())
    throw Error(unsupported(
        "step(loss) without batches() has no meaning in an asynchronous mode: steps are handed out with their batch"));
  if (optimizer_ && (!work_ || slice_ == work_->slices.first)) follow_changes();
  if (!work_) open_step();
  if (slice_ == work_->slices.first) begin_step();
  backward(loss, options);
  batch_out_ = false;
  if (++slice_ < work_->slices.last) return {};
  return end_step();
}

double Trainer::Impl::weight_of(std::int32_t slice, const StepOptions& options) const {
  if (options.samples > 0) return options.samples;
  return loop_.running() ? loop_.weight(slice, work_->slices.count) : 1.0 / work_->slices.count;
}

void Trainer::Impl::backward(const at::Tensor& loss, const StepOptions& options) {
  const double weight = weight_of(slice_, options);
  const bool first_of_part = slice_ == parts_[ends_.size()].first;
  const bool weighed = first_of_part && !ends_.empty() ? ends_.back().samples > 0 : samples_ > 0;
  if (slice_ != work_->slices.first && (options.samples > 0) != weighed)
    throw Error(invalid(
        "StepOptions::samples is given for some slices of the step and not for others: give it for all or for none"));
  samples_ += options.samples;
  losses_.add(weight * loss.item<double>(), [](double left, double right) { return left + right; });
  if (weight != weight_value_ || weight_.scalar_type() != loss.scalar_type()) {
    weight_ = at::scalar_tensor(weight, loss.options().requires_grad(false));
    weight_value_ = weight;
  }
  const bool ends_part = slice_ + 1 == parts_[ends_.size()].last, is_last = slice_ + 1 == work_->slices.last;
  const double samples = samples_;
  if (ends_part) {
    ends_.push_back({losses_.take([](double left, double right) { return left + right; }).value_or(0), samples});
    samples_ = 0;
  }
  if (is_last) ends_.back().request = request();
  Status taken;
  try {
    const bool may_end = job_.world() > 1 && is_last && buffers_->empty() && !asynchronous();
    taken = reducer_->backward(loss, loss.dim() == 0 ? weight_ : weight_.expand(loss.sizes()), samples,
                               may_end ? std::span<const update::PartEnd>(ends_) : std::span<const update::PartEnd>());
  } catch (...) {
    give_up_backward();
    throw;
  }
  if (taken.ok()) taken = buffers_->end_slice(!is_last, samples);
  if (!taken.ok()) broken_ = taken;
  or_throw(taken);
  if (ends_part) ends_.back().counters = buffers_->counters();
}

/// Handles an exception of backward. A single worker goes on with the next step. If other workers wait for this step, it has to be repeated.
void Trainer::Impl::give_up_backward() {
  const update::Work again = *work_;
  buffers_->restart();
  drop_step();
  if (!broken_.ok()) {
    broken_ = broken_.context("backward threw in step " + std::to_string(update_of(again) + 1));
  } else if (!engine_->capabilities().alone) {
    work_ = again;
    prepare_step();
  }
}

StepResult Trainer::Impl::end_step() {
  const std::uint8_t asked = ends_.back().request;
  meetings_.enter(asynchronous() ? -1 : work_->step.value);
  auto finished = engine_->exchange().finish(ends_);
  meetings_.leave();
  reducer_->release();
  const std::int64_t step = update_of(*work_);
  work_.reset();
  if (!finished.ok()) broken_ = finished.status();
  const update::StepOutcome outcome = or_throw(std::move(finished));
  if (!outcome.counted_alike) explain_counters();
  buffers_->take();
  const bool alone = job_.world() == 1;
  if (optimizer_ && !outcome.skipped) {
    const std::vector<at::Tensor>& parameters = reducer_->parameters();
    model_->updated([&](std::int32_t p) {
      return alone ? !reducer_->was_absent(p) : parameters[static_cast<std::size_t>(p)].requires_grad();
    });
  }
  if (!optimizer_) leave_mean_gradients();
  telling_.step_done(outcome, rates_ ? std::optional(rates_->at(0, step)) : std::nullopt);
  new_rates_.clear();
  done_ = asynchronous() ? engine_done() : step + 1;
  if (loop_.running() && job_.rank() == 0 && !asynchronous()) tell(outcome.loss);
  if (!outcome.gradient_norms.empty() && job_.rank() == 0)
    telling_.tell_gradients(done_, model_->layout(), outcome.gradient_norms);
  if (!asynchronous()) finished_step_ = outcome.request;
  else if (asked != 0) or_throw(engine_->leave_loop(true, false));  // this ends the round for all workers
  return {true, step + 1, outcome.loss, outcome.gradient_norm, outcome.skipped};
}

/// Finds out which buffer differs, after all workers have seen that their buffers without a mean do.
void Trainer::Impl::explain_counters() {
  broken_ = meetings_.meet("the end of a step", done_, buffers_->counter_facts());
  if (broken_.ok()) broken_ = invalid("buffers without a mean differ between the workers");
  broken_ = broken_.context(
      "after step " + std::to_string(done_ + 1) +
      " workers have different buffers that are no floats of 32 or 64 bits, so have no mean (use their layers in all "
      "slices alike, or choose TrainerOptions::buffers worker0 or own)");
  throw Error(broken_);
}

void Trainer::Impl::tell(double loss) {
  if ((done_ - loop_.first()) % loop_.options().log_every != 0 && done_ != loop_.last()) return;
  telling_.tell({done_, loss, telling_.elapsed(), {}}, loop_, false);
}

}  // namespace cohaul::train
