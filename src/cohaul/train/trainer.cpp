#include "cohaul/train/trainer.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/scalar_tensor.h>

#include <algorithm>
#include <utility>

#include "cohaul/base/last_operations.h"
#include "cohaul/base/random.h"
#include "cohaul/data/sampler.h"
#include "cohaul/gradient/arena_allocator.h"
#include "cohaul/gradient/reducer.h"
#include "cohaul/observe/format.h"
#include "cohaul/transport/arena.h"
#include "cohaul/update/tree_fold.h"

namespace cohaul::train {
namespace {

double join(double left, double right) { return left + right; }

}  // namespace

struct Trainer::Run {
  job::Job& job;
  Model model;
  std::optional<Optimizer> optimizer;
  TrainerOptions options;
  ProgressReporter own_reporter;
  update::Layout layout;
  transport::Arena small;  // gradients of small runs
  std::unique_ptr<strategy::Engine> engine;
  std::unique_ptr<gradient::Reducer> reducer;

  // The loop.
  const data::DataSet* set = nullptr;
  FitOptions fit;
  std::optional<data::Sampler> sampler;
  std::vector<std::int64_t> indices;
  std::int64_t first_step = 0, end_step = 0;  // of this loop: numbers of steps since the trainer was made
  std::optional<update::Work> work;           // the open step
  int slice = 0;                              // of it, the next to be answered
  bool batch_out = false;
  at::Tensor share;  // of the loss that backward starts from, by value_
  double share_value = -1;
  update::TreeFold<double> losses;
  std::int64_t done = 0;

  // What is told.
  StepTimes times;
  Time last_end = 0, told_at = 0;
  Duration waited = 0;    // until then, by the job
  std::int64_t told = 0;  // the last update that was told of
  int number;             // of this trainer in the job
  std::int64_t meetings = 0;
  bool closed = false;

  Run(job::Job& j, Model m, std::optional<Optimizer> o, const TrainerOptions& t)
      : job(j),
        model(std::move(m)),
        optimizer(std::move(o)),
        options(t),
        own_reporter(2, j.rank() != 0),
        number(j.count("trainer")) {}

  /// Blocks until all workers are here.
  Status meet() {
    if (job.world() == 1) return {};
    Time deadline = steady_clock().now() + seconds(job.options().step_timeout_s);
    return job.barrier("trainer " + std::to_string(number) + " meets " + std::to_string(meetings++), job.world(),
                       deadline);
  }
  Status close() {
    if (std::exchange(closed, true)) return {};
    COHAUL_TRY(meet());
    return engine->close();
  }
  Reporter& reporter() { return options.reporter ? *options.reporter : own_reporter; }
  double share_of(int v) const {
    if (!set) return 1.0 / work->slices.count;
    return static_cast<double>(data::slice_of(fit.batch, work->slices.count, v).size()) /
           static_cast<double>(fit.batch);
  }
  /// Where every worker computes the whole batch, the model must have been made for that.
  void expect_split() const {
    if (options.layer_group == nullptr || model.split.empty())
      throw Error(unsupported(
          "the strategy tensor splits layers that a factory makes, and this model has none: make its layers with "
          "cohaul::parallel::tensor_parallel_layers(group), name the split parameters in Model::split, and give "
          "TrainerOptions::layer_group the same group; or choose all_reduce"));
  }
  /// Worker 0's values of all that is not split.
  void share_whole(Bytes flat) {
    for (std::size_t i = 0; i < layout.parameters().size(); ++i) {
      const update::ParameterSpec& p = layout.parameters()[i];
      if (model.split_of(p.name)) continue;
      auto index = static_cast<std::int32_t>(i);
      std::size_t elements = layout.bytes(index) / size_of(p.dtype);
      or_throw(options.layer_group->broadcast({flat.data() + layout.offset(index), elements, p.dtype}, 0));
    }
  }
  void tell(const strategy::ReportedUpdate& update, double waiting);
  void tell_asynchronous();
  double waiting(Time now) const;
};

Trainer::Trainer(job::Job& job, Model model, const strategy::Strategy& strategy, std::optional<Optimizer> optimizer,
                 const TrainerOptions& options)
    : run_(std::make_shared<Run>(job, std::move(model), std::move(optimizer), options)) {
  Run& r = *run_;
  if (r.optimizer) or_throw(r.optimizer->rule.check());
  const transport::Arena* tensors = or_throw(gradient::install_arena_allocator());
  r.layout = or_throw(layout_of(r.model));
  r.small = or_throw(
      transport::Arena::create("cohaul gradients", std::max<std::size_t>(r.layout.bytes(), update::kAlignment)));
  strategy::EngineOptions engine;
  engine.trainer = r.number;
  engine.layout = &r.layout;
  if (r.optimizer) engine.rule = r.optimizer->rule;
  engine.slices = options.slices;
  engine.own_optimizer = !r.optimizer.has_value();
  engine.lend = {tensors, &r.small};
  r.engine = or_throw(strategy::make_engine(strategy, job, engine));
  engine_ = r.engine.get();
  if (!r.optimizer && !engine_->capabilities().average)
    throw Error(unsupported("an optimizer of your own (average()) works with single and all_reduce; under " +
                            std::string(strategy::name(strategy)) +
                            " give the trainer an optimizer, e.g. cohaul::Sgd{.lr = 0.01}"));
  const bool splits_layers = job.world() > 1 && engine_->capabilities().data_parallel == 1;
  if (splits_layers) r.expect_split();
  update::Exchange& exchange = engine_->exchange();
  if (job.rank() == 0 || splits_layers) copy_to(r.model, r.layout, exchange.parameters());
  or_throw(exchange.start(steady_clock().now() + seconds(job.options().join_timeout_s)));
  if (splits_layers) r.share_whole(exchange.parameters());
  adopt(r.model, r.layout, exchange.parameters());
  job.at_close([weak = std::weak_ptr(run_)] {
    auto run = weak.lock();
    return run ? run->close() : Status();
  });
  if (!r.optimizer) return;
  std::vector<at::Tensor> trainable(r.layout.parameters().size());
  for (std::size_t i = 0; i < r.model.parameters.size(); ++i) trainable[i] = r.model.parameters[i].second;
  r.reducer = std::make_unique<gradient::Reducer>(r.layout, std::move(trainable), exchange, r.small.bytes());
}

// Servers and peers may need this process until all are through, however early the trainer goes.
Trainer::~Trainer() {
  run_->reducer.reset();
  if (!run_->closed) run_->job.at_close([run = run_] { return run->close(); });
}

void Trainer::fit(const data::DataSet& set, const Loss& loss, const FitOptions& options) {
  for (const data::Batch& batch : batches(set, options)) step(loss(batch));
}

Batches Trainer::batches(const data::DataSet& set, const FitOptions& options) {
  Run& r = *run_;
  std::int64_t n = set.size();
  if (n < 1) throw Error(invalid("the data set is empty"));
  if (options.batch < 1) throw Error(invalid("batch = " + std::to_string(options.batch) + ": it must be at least 1"));
  if (engine_->slices() > options.batch)
    throw Error(invalid(std::to_string(engine_->slices()) + " slices, but a batch of " + std::to_string(options.batch) +
                        " samples: slices must be ≤ batch"));
  if ((options.steps > 0) == (options.epochs > 0))
    throw Error(invalid("give either steps or epochs, one of them and at least 1"));
  r.set = &set;
  r.fit = options;
  if (options.epochs > 0) r.fit.steps = (options.epochs * n + options.batch - 1) / options.batch;
  r.sampler.emplace(data::SamplerOptions{n, options.batch, options.shuffle, r.options.seed});
  r.first_step = r.end_step;
  r.end_step += r.fit.steps;
  r.times = {};
  r.times.steps.reserve(static_cast<std::size_t>(std::min<std::int64_t>(r.fit.steps, 1 << 20)));
  r.times.began = r.last_end = r.told_at = steady_clock().now();
  r.waited = r.job.waited();
  r.told = r.first_step;
  r.model.train(true);
  return Batches(this);
}

bool Trainer::open_step() {
  Run& r = *run_;
  r.work = or_throw(engine_->next({r.first_step, r.end_step, r.set ? r.fit.log_every : 0}));
  if (r.set && engine_->capabilities().asynchronous) r.tell_asynchronous();
  if (!r.work) return false;
  r.slice = r.work->slices.first;
  note_operation("compute step", r.work->step.value);
  if (r.optimizer) or_throw(engine_->exchange().begin(*r.work, r.optimizer->settings));
  return true;
}

std::optional<data::Batch> Trainer::next_batch() {
  Run& r = *run_;
  if (r.batch_out) throw Error(invalid("a batch was not answered: call step(loss) or average(loss) once for each"));
  if (!r.work && !open_step()) {
    r.times.ended = steady_clock().now();
    r.done = r.end_step;
    r.times.samples = (r.end_step - r.first_step) * r.fit.batch;
    r.set = nullptr;
    return std::nullopt;
  }
  data::Slice slice = data::slice_of(r.fit.batch, r.work->slices.count, r.slice);
  r.indices.resize(static_cast<std::size_t>(slice.size()));
  r.sampler->indices(r.work->step.value, slice, r.indices);
  std::uint64_t seed =
      mix_seed(r.options.seed, static_cast<std::uint64_t>(r.work->step.value), static_cast<std::uint64_t>(r.slice));
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  generator.set_current_seed(seed);
  r.batch_out = true;
  return r.set->get(r.indices);
}

void Trainer::backward(const at::Tensor& loss, double share) {
  Run& r = *run_;
  if (!loss.defined() || loss.numel() != 1)
    throw Error(invalid("step() takes the mean loss of the slice, a tensor of one element"));
  r.losses.add(share * loss.item<double>(), join);
  if (share != r.share_value || r.share.scalar_type() != loss.scalar_type()) {
    r.share = at::scalar_tensor(share, loss.options().requires_grad(false));
    r.share_value = share;
  }
  loss.backward(r.share.expand(loss.sizes()));
}

void Trainer::step(const at::Tensor& loss) {
  Run& r = *run_;
  if (!r.optimizer) throw Error(unsupported("this trainer has no optimizer: call average(loss), or give it one"));
  if (!r.work) {
    if (engine_->capabilities().asynchronous)
      throw Error(
          unsupported("step(loss) without batches() has no meaning in an asynchronous mode: steps are handed out with "
                      "their batch"));
    ++r.end_step;
    open_step();
  }
  const update::SliceRange& mine = r.work->slices;
  r.reducer->open_slice(r.slice - mine.first, mine.last - mine.first);
  backward(loss, r.share_of(r.slice));
  or_throw(r.reducer->close_slice());
  r.batch_out = false;
  if (++r.slice == mine.last) end_step();
}

void Trainer::average(const at::Tensor& loss) {
  Run& r = *run_;
  if (r.optimizer)
    throw Error(unsupported("average(loss) is for an optimizer of your own: make the trainer without one"));
  if (!r.work) {
    ++r.end_step;
    open_step();
  }
  const update::SliceRange& mine = r.work->slices;
  if (r.slice == mine.first)
    for (auto& [name, p] : r.model.parameters) p.mutable_grad() = at::Tensor();
  backward(loss, r.share_of(r.slice));
  r.batch_out = false;
  if (++r.slice < mine.last) return;
  if (collective::Group* group = engine_->group())
    for (auto& [name, p] : r.model.parameters) {
      if (!p.requires_grad()) continue;
      if (!p.grad().defined())
        p.mutable_grad() = at::scalar_tensor(0, p.options().requires_grad(false)).expand(p.sizes()).contiguous();
      or_throw(group->all_reduce(parallel::buffer(p.mutable_grad())));
    }
  end_step();
}

void Trainer::end_step() {
  Run& r = *run_;
  update::StepOutcome outcome;
  outcome.loss = r.losses.take(join).value_or(0);
  if (r.optimizer) {
    outcome = or_throw(engine_->exchange().finish(outcome.loss));
    r.reducer->release();
  }
  Time now = steady_clock().now();
  r.times.steps.push_back(now - r.last_end);
  r.last_end = now;
  r.done = r.work->step.value + 1;
  r.work.reset();
  if (!r.set || r.job.rank() != 0 || engine_->capabilities().asynchronous) return;
  if ((r.done - r.first_step) % r.fit.log_every == 0 || r.done == r.end_step)
    r.tell({r.done, outcome.loss, now - r.told_at, {}}, r.waiting(now));
}

/// The fraction of the time since the last report that this worker waited for others.
double Trainer::Run::waiting(Time now) const {
  return now > told_at ? std::min(1.0, static_cast<double>(job.waited() - waited) / static_cast<double>(now - told_at))
                       : 0;
}

void Trainer::Run::tell_asynchronous() {
  double fraction = waiting(steady_clock().now());
  for (const strategy::ReportedUpdate& update : engine->take_reports()) tell(update, fraction);
}

void Trainer::Run::tell(const strategy::ReportedUpdate& update, double waiting) {
  auto per_second = [&](std::int64_t updates, Duration time) {
    return time > 0 ? static_cast<double>(updates * fit.batch) * 1e9 / static_cast<double>(time) : 0;
  };
  StepReport out;
  out.step = update.number;
  out.steps = end_step;
  out.loss = update.loss;
  out.samples_per_s = per_second(update.number - told, update.elapsed);
  out.waiting = waiting;
  out.many = job.world() > 1;
  Time now = steady_clock().now();
  double overall = per_second(update.number - first_step, now - times.began);
  if (overall > 0) out.seconds_left = static_cast<double>((end_step - update.number) * fit.batch) / overall;
  if (engine->capabilities().asynchronous) out.asynchrony = update.asynchrony;
  told = update.number;
  told_at = now;
  waited = job.waited();
  reporter().step(out);
}

Evaluation Trainer::evaluate(const data::DataSet& set, const Loss& loss, const Metrics& metrics, std::int64_t batch) {
  Run& r = *run_;
  Evaluation out;
  std::vector<double> sums(metrics.size());
  note_operation("evaluate");
  if (r.job.rank() == 0 || !r.model.split.empty()) {
    at::NoGradGuard no_grad;
    r.model.train(false);
    for (std::int64_t first = 0; first < set.size(); first += batch) {
      r.indices.resize(static_cast<std::size_t>(std::min(batch, set.size() - first)));
      for (std::size_t i = 0; i < r.indices.size(); ++i) r.indices[i] = first + static_cast<std::int64_t>(i);
      data::Batch b = set.get(r.indices);
      out.loss += loss(b).item<double>() * static_cast<double>(r.indices.size());
      for (std::size_t m = 0; m < metrics.size(); ++m) sums[m] += metrics[m].second(b);
    }
    r.model.train(true);
  }
  double n = static_cast<double>(std::max<std::int64_t>(set.size(), 1));
  out.loss /= n;
  for (std::size_t m = 0; m < metrics.size(); ++m) out.metrics.emplace_back(metrics[m].first, sums[m] / n);
  if (r.job.rank() == 0 && !r.options.reporter) {
    std::string line = "test  loss " + observe::significant(out.loss);
    for (const auto& [name, value] : out.metrics) line += "  " + name + " " + observe::significant(value);
    observe::ProgressWriter(2).say(line);
  }
  or_throw(r.meet());
  return out;
}

NamedTensors Trainer::parameters() { return or_throw(whole_parameters(run_->model, run_->options.layer_group)); }

void Trainer::save(const std::string& path) {
  NamedTensors whole = parameters();
  if (run_->job.rank() == 0) or_throw(train::save(path, whole, run_->model.buffers));
}

std::int64_t Trainer::steps_done() const { return run_->done; }
const StepTimes& Trainer::times() const { return run_->times; }
void Trainer::close() { or_throw(run_->close()); }

}  // namespace cohaul::train
