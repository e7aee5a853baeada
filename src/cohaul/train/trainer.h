#pragma once
// Trainer: trains a model on all workers of a job, under the strategy that the user chose.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "cohaul/data/accuracy.h"
#include "cohaul/data/data_set.h"
#include "cohaul/job/job.h"
#include "cohaul/strategy/strategy.h"
#include "cohaul/train/error.h"
#include "cohaul/train/model.h"
#include "cohaul/train/optimizer.h"
#include "cohaul/train/step_times.h"

namespace cohaul::collective {
class Group;
}
namespace cohaul::observe {
class Sink;
}
namespace cohaul::strategy {
class Engine;
}

namespace cohaul::train {

using Loss = std::function<at::Tensor(const data::Batch&)>;
using Metrics = std::vector<std::pair<std::string, data::Metric>>;

/// The checkpoints that a loop writes. Beside those of `every` and `every_s`, one is always written when the loop has ended.
struct CheckpointOptions {
  std::string folder{};    // where they are written; empty: no checkpoints are
  std::int64_t every = 0;  // number of updates between two checkpoints; 0: not by count
  double every_s = 0;      // seconds between two checkpoints; 0: not by time
  int keep = 3;            // number of newest checkpoints that are kept; older ones are deleted
};

/// Evaluations during fit(), by all workers: after every `every` updates, and after the last one. Asynchronous modes have none (unsupported).
struct EvaluationOptions {
  const data::DataSet* set = nullptr;  // must outlive the loop; null: no evaluations
  std::int64_t every = 0;              // number of updates between two evaluations
  /// Number of evaluations in a row without a new smallest loss after which fit() ends; 0: it does not end early.
  std::int64_t patience = 0;
  /// When fit() ends, the model gets the parameters and buffers of the evaluation with the smallest loss.
  bool keep_best = false;
  /// Evaluates the moving averages (TrainerOptions::ema); with keep_best, the best averages become the parameters.
  bool ema = false;
  Metrics metrics{};
  std::int64_t batch = 500;
};

struct FitOptions {
  /// Samples per update: of all workers together in synchronous modes, per push in asynchronous ones.
  std::int64_t batch = 1;
  std::int64_t steps = 0;   // length of the loop in updates, over all workers
  std::int64_t epochs = 0;  // length of the loop in passes over the data; exactly one of steps and epochs is set
  bool shuffle = true;
  std::int64_t log_every = 100;  // number of steps between two reported losses
  CheckpointOptions checkpoint{};
  EvaluationOptions evaluation{};  // used by fit() alone
};

/// The allocator of LibTorch's CPU tensors.
enum class Allocator : std::uint8_t {
  /// Tensors of 64 KiB and more lie in shared memory, where other workers of the host can read gradients; this lasts until the process ends.
  arena,
  torch  ///< LibTorch's own allocator: where there are several workers, gradients are copied once more
};

struct TrainerOptions {
  /// Into how many slices a batch is cut, each with its own forward and backward; 0: one per data-parallel worker.
  int slices = 0;
  Buffers buffers = Buffers::mean;  // what happens to the model's buffers in a step
  std::uint64_t seed = 0;           // seeds the order of the samples, and LibTorch's random numbers within each step
  /// Number of updates between two events "gradients"; 0: none. The event has the norm of each parameter's mean gradient over the batch, before
  /// clipping; one always follows the first update. Not possible in asynchronous modes and under Tensor (unsupported).
  std::int64_t watch_gradients = 0;
  /// Decay of an exponential moving average (EMA) of the parameters; 0: none is kept. It starts from the parameters before the first update. After
  /// each update, average = ema · average + (1 − ema) · parameter; a skipped step does not count. In asynchronous modes servers do so at each push.
  /// with_ema() puts the averages into the model. Buffers are not averaged.
  double ema = 0;
  Allocator allocator = Allocator::arena;
  /// Receives worker 0's events; must outlive the trainer. null: progress is shown on worker 0's stderr.
  observe::Sink* sink = nullptr;
  /// The group over which layers are split (Tensor); must outlive the trainer.
  collective::Group* layer_group = nullptr;
};

struct StepOptions {
  /// The number of samples that the loss is the mean of, so that slices of unequal size get the right weight. Either all slices of a step set it, or
  /// none. 0: the weight follows from the batch of the trainer's loop; in a loop of your own all slices weigh the same.
  double samples = 0;
};

/// The result of a step. In synchronous modes all workers get the same, so they can make the same decisions from it.
struct StepResult {
  /// False: this worker has more slices of this step to compute, and the other fields mean nothing yet.
  bool complete = false;
  std::int64_t update = 0;  // number of this update, counted from 1 since the trainer was made
  double loss = 0;  // mean loss of the whole batch before the update; in asynchronous modes of this worker's batch
  /// Norm of all gradients before clipping; set where clip_norm or non_finite needs it.
  std::optional<double> gradient_norm;
  bool skipped = false;  // true: a gradient was not finite, so no parameter was updated
};

/// Loss and metrics of a test set: means over its samples.
struct Evaluation {
  double loss = 0;
  std::vector<std::pair<std::string, double>> metrics;
};

class Batches;

template <class Set>
constexpr bool kIsDataSet = std::is_base_of_v<data::DataSet, std::remove_cvref_t<Set>>;

/// Trains a model. One thread at a time may use it. Throws Error: invalid and unsupported for mistakes of the user, peer_lost when a process was
/// lost. The constructor blocks until all workers have worker 0's parameters. step() blocks, after the last slice of a step, until the update is
/// done, at most job.step_timeout_s.
///
/// The trainer borrows the model: while the trainer lives, the parameters are views of its memory. When it ends, every parameter gets memory of its
/// own again, with its last value. If a second trainer is made of the same parameters, they belong to the second one.
class Trainer {
 public:
  /// net: a TORCH_MODULE holder or shared_ptr, which is copied, or a module itself, which must outlive the trainer. All workers start with worker 0's
  /// parameters and buffers. After every step the parameters' `.grad()` is undefined. `job` must outlive the trainer.
  template <class Net>
    requires(!std::is_same_v<std::remove_cvref_t<Net>, Model>)
  Trainer(job::Job& job, Net&& net, const strategy::Strategy& strategy, const Optimizer& optimizer,
          const TrainerOptions& options = {})
      : Trainer(job, model_of(std::forward<Net>(net)), strategy, std::optional(optimizer), options) {}
  /// A trainer without an optimizer of Cohaul's: every worker keeps its own copy of the parameters, average() leaves the mean gradients in `.grad()`,
  /// and the user's own torch::optim updates.
  template <class Net>
    requires(!std::is_same_v<std::remove_cvref_t<Net>, Model>)
  Trainer(job::Job& job, Net&& net, const strategy::Strategy& strategy, const TrainerOptions& options = {})
      : Trainer(job, model_of(std::forward<Net>(net)), strategy, std::nullopt, options) {}
  Trainer(job::Job& job, Model model, const strategy::Strategy& strategy, std::optional<Optimizer> optimizer,
          const TrainerOptions& options = {});
  ~Trainer();
  Trainer(Trainer&&) noexcept;
  Trainer& operator=(Trainer&&) noexcept;

  /// Runs a whole training loop: a step on the loss of every batch, with the evaluations and checkpoints that `options` ask for. Does not switch
  /// modules between training and evaluation mode, except during an evaluation. Blocks until the loop has ended.
  void fit(const data::DataSet& set, const Loss& loss, const FitOptions& options);

  /// Returns a range over the batches of this worker; each is one slice of a step. Every batch is answered by one call of step() or average(). A loop
  /// that is left early is over; the next loop continues after the last update. `set` must outlive the loop.
  Batches batches(const data::DataSet& set, const FitOptions& options);
  Batches batches(const data::DataSet&& set,
                  const FitOptions& options) = delete;  // the set would be destroyed before the loop
  /// These two explain by a compile error how torch's own data sets are passed.
  template <class Set>
    requires(!kIsDataSet<Set>)
  std::vector<data::Batch> batches(Set&&, const FitOptions&) {
    static_assert(kIsDataSet<Set>, "wrap torch's own data sets: cohaul::TorchData data(std::move(set))");
    return {};
  }
  template <class Set>
    requires(!kIsDataSet<Set>)
  void fit(Set&&, const Loss&, const FitOptions&) {
    static_assert(kIsDataSet<Set>, "wrap torch's own data sets: cohaul::TorchData data(std::move(set))");
  }

  /// Clears the gradients, runs backward of this slice's loss, and makes the update after the last slice of the step. `loss` is the mean over the
  /// slice's samples. All workers must call it equally often. If backward throws before anything has been sent to other workers, the trainer can
  /// still be used; otherwise its next use throws.
  StepResult step(const at::Tensor& loss, const StepOptions& options = {});
  /// Does what step() does, but leaves the mean gradient over all workers in `.grad()` instead of updating; `.grad()` is undefined where no worker
  /// had a gradient. Only for a trainer without an optimizer, under Single and AllReduce (Capabilities::average). StepResult describes the mean
  /// gradient.
  StepResult average(const at::Tensor& loss, const StepOptions& options = {});
  /// Asynchronous modes: ends the running loop for all workers; no further steps are handed out. In synchronous modes this worker leaves the loop,
  /// and all workers must do so at the same step.
  void stop();

  /// Changes parameters by hand: f runs on worker 0, and all workers and servers get the parameters that it leaves, and the buffers unless they are
  /// each worker's own. All workers call it between steps, and not within an asynchronous loop. Blocks until all have the new values. Optimizer state
  /// is kept.
  void write(const std::function<void()>& f);

  /// Calls f while the model holds the moving averages (TrainerOptions::ema) instead of the parameters, so that evaluate() and save() within f use
  /// them. Afterwards the parameters are back, bit for bit, also when f throws. All workers call it between steps, with an f that does the same at
  /// all of them, and not within an asynchronous loop. f may neither train nor write parameters (invalid). Before the first update the averages equal
  /// the parameters. Blocks as write() does.
  void with_ema(const std::function<void()>& f);

  /// Sets a learning rate by hand, from the next step on until it is set again. The schedule continues to multiply it. The first form sets the
  /// optimizer's rate, which also applies to groups without a rate of their own; the second sets the rate of one group, counted from 0. All workers
  /// call it between the same steps or, within a loop, before the same step(); not within an asynchronous loop. Never blocks.
  void set_lr(double lr);
  void set_lr(std::size_t group, double lr);

  /// Gives the schedule `plateau` the loss of an evaluation. Only a loop of your own calls it; fit() does so after each of its evaluations. The rates
  /// may fall from the next step on. All workers call it with the same loss, between the same steps. Checkpoints keep the schedule's state. Never
  /// blocks.
  void plateau(double loss);

  /// Returns the mean loss and metrics over a test set, computed in evaluation mode; all workers get the same values. All workers call it with the
  /// same set, loss and metrics. Blocks until all have finished, at most job.step_timeout_s longer than this worker needs.
  /// Each worker computes a part of the batches, and the sums have the same bits for any number of workers. Worker 0 computes all of them within an
  /// asynchronous loop, and where floating-point buffers are each worker's own. The random numbers of a batch depend on seed and batch alone, and
  /// LibTorch's generator is restored afterwards, as is the mode of each module.
  Evaluation evaluate(const data::DataSet& set, const Loss& loss, const Metrics& metrics = {},
                      std::int64_t batch = 500);

  /// Returns copies of the whole parameters, as they are after the last update. Where layers are split, all workers must call it.
  NamedTensors parameters();
  /// Writes parameters and buffers into a safetensors file, on worker 0. All workers call it.
  void save(const std::string& path);

  /// Writes a checkpoint into the folder, which is created if needed, and blocks until it is on the disk. It has the parameters, the optimizer state,
  /// worker 0's buffers, the position in the loop, and the values and random generators of all workers. It includes the other living trainers of the
  /// job, which must be between steps too. All workers call it between the same two steps; within an asynchronous loop FitOptions::checkpoint must be
  /// used instead. Without an optimizer the parameters must be the same at all workers (invalid), and you keep the state of your own optimizer in a
  /// value(). If the checkpoint cannot be written, or another job writes into the folder (invalid), older checkpoints stay and the trainer can still
  /// be used.
  void save_checkpoint(const std::string& folder);
  /// Continues from a checkpoint: the newest good one in the folder, or the one that `folder` itself is. It is called before the first step and loop,
  /// by all workers, and for each trainer that the checkpoint contains. The number of workers and servers and the strategy may differ from those
  /// before. Then the program runs the same code as at first: a loop that had ended yields no batch, and the loop that was interrupted continues
  /// where it was. A loop of your own must itself skip to the update that resume() returns, with its samples and random numbers.
  /// Returns the number of updates that had been done; 0: there is no good checkpoint, and nothing has changed. Throws invalid where the checkpoint
  /// is of another model, optimizer, seed, number of slices or data set.
  std::int64_t resume(const std::string& folder);

  /// Returns a text (or any bytes) of the program's own by its name; it is "" at first, and checkpoints keep it. After resume() each worker has its
  /// own value again if the number of workers is the same, otherwise all workers have worker 0's. The reference is valid while the trainer lives.
  /// Throws invalid for a name that begins with "fit.".
  std::string& value(const std::string& name);

  /// For Cohaul's own parts.
  strategy::Engine& engine();
  /// Returns the number of updates so far, over all workers, including those before a resume().
  std::int64_t steps_done() const;
  const StepTimes& times() const;
  /// Ends the training: blocks until all workers have called it, disconnects from servers and other workers, and gives the model memory of its own
  /// again. The trainer cannot be used afterwards. The job's close() calls it if the program has not.
  void close();

 private:
  friend class Batches;
  class Impl;
  std::shared_ptr<Impl> impl_;
};

/// The batches of one loop, as a range for `for`. It ends by itself in every mode. Its destructor ends the loop, also after a `break` or an
/// exception.
class Batches {
 public:
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = data::Batch;
    using difference_type = std::ptrdiff_t;
    using pointer = const data::Batch*;
    using reference = const data::Batch&;
    explicit iterator(Batches* batches) : batches_(batches) { ++*this; }
    iterator() = default;
    reference operator*() const { return *batch_; }
    pointer operator->() const { return &*batch_; }
    iterator& operator++() {
      batch_ = batches_->next();
      return *this;
    }
    bool operator==(const iterator& other) const { return batch_.has_value() == other.batch_.has_value(); }

   private:
    Batches* batches_ = nullptr;
    std::optional<data::Batch> batch_;
  };
  iterator begin() { return iterator(this); }
  iterator end() { return {}; }
  ~Batches();
  Batches(Batches&& other) noexcept = default;

 private:
  friend class Trainer;
  Batches(std::shared_ptr<Trainer::Impl> impl, std::int64_t loop) : impl_(std::move(impl)), loop_(loop) {}
  std::optional<data::Batch> next();
  std::shared_ptr<Trainer::Impl> impl_;
  std::int64_t loop_;  // the loop's number: beginning a newer loop ends this one
};

}  // namespace cohaul::train
