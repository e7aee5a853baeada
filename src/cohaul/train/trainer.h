#pragma once
// Trainer: trains a model on all workers of a job under one strategy. Its loop knows no strategy by name.

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

#include "cohaul/collective/group.h"
#include "cohaul/data/accuracy.h"
#include "cohaul/data/data_set.h"
#include "cohaul/job/job.h"
#include "cohaul/strategy/engine.h"
#include "cohaul/strategy/strategy.h"
#include "cohaul/train/error.h"
#include "cohaul/train/model.h"
#include "cohaul/train/optimizer.h"
#include "cohaul/train/report.h"

namespace cohaul::train {

using Loss = std::function<at::Tensor(const data::Batch&)>;
using Metrics = std::vector<std::pair<std::string, data::Metric>>;

/// Checkpoints of a loop.
struct CheckpointOptions {
  std::string folder{};    // empty: none
  std::int64_t every = 0;  // updates between two; 0: by time alone
  double every_s = 0;      // seconds between two; 0: by count alone. One is written in any case when the loop has ended
  int keep = 3;            // the newest that stay
};

/// Evaluations in the middle of fit(), by all workers: after every so many updates, and after the last. Not in asynchronous modes (unsupported).
struct EvaluationOptions {
  const data::DataSet* set = nullptr;  // outlives the loop; null: none
  std::int64_t every = 0;              // updates between two
  std::int64_t patience =
      0;  // evaluations in a row whose loss is not below the best one's, after which fit() ends; 0: it goes on
  bool keep_best = false;  // at its end the model has parameters and buffers of the evaluation with the smallest loss
  bool ema =
      false;  // evaluates the averages (TrainerOptions::ema); keep_best keeps those, and they become the parameters
  Metrics metrics{};
  std::int64_t batch = 500;
};

struct FitOptions {
  std::int64_t batch = 1;   // samples per update: over all workers in synchronous modes, per push in asynchronous ones
  std::int64_t steps = 0;   // updates, over all workers; or
  std::int64_t epochs = 0;  // passes over the data
  bool shuffle = true;
  std::int64_t log_every = 100;  // steps between reported losses
  CheckpointOptions checkpoint{};
  EvaluationOptions evaluation{};  // of fit()
};

/// Where LibTorch's tensors on the CPU lie.
enum class Allocator : std::uint8_t {
  arena,  ///< those of 64 KiB and more in shared memory, from which others of the host read gradients; for the rest of the process
  torch   ///< where LibTorch puts them: gradients are copied once more where there are several workers
};

struct TrainerOptions {
  int slices = 0;  // parts of a batch, each its own forward and backward; 0: one per data-parallel worker
  Buffers buffers = Buffers::mean;  // what becomes of the model's buffers in a step
  std::uint64_t seed = 0;           // of the order of samples and of the model's random numbers
  /// Updates between two events "gradients", beside that of the first update: the norm of each parameter's mean gradient over the batch, before
  /// clipping. 0: none. Not in asynchronous modes and under tensor (unsupported).
  std::int64_t watch_gradients = 0;
  /// Decay of an exponential moving average of the parameters (EMA), which starts from those before the first update: after each,
  /// average = ema · average + (1 − ema) · parameter; a step that is skipped does not count. 0: none. In asynchronous modes servers average at each
  /// push. with_ema() gives them to the model; buffers are the model's own.
  double ema = 0;
  Allocator allocator = Allocator::arena;
  observe::Sink* sink = nullptr;  // where worker 0's events go; outlives the trainer. null: progress on its stderr
  collective::Group* layer_group = nullptr;  // over which layers are split (tensor); outlives the trainer
};

struct StepOptions {
  /// Samples that the loss is the mean of. Slices of unequal size weigh as they have samples; all slices of a step must say theirs then.
  /// 0: the share is the batch's own, or with a loop of your own equal for all slices.
  double samples = 0;
};

/// What came of a step. In synchronous modes it is the same on all workers, so that they can decide alike.
struct StepResult {
  bool complete = false;    // false: this worker has more slices of the step to compute, and the rest says nothing yet
  std::int64_t update = 0;  // number of this update, from 1, since the trainer was made
  double loss = 0;          // of the whole batch, before the update; in asynchronous modes of this push's
  std::optional<double> gradient_norm;  // before clipping; where clip_norm or non_finite ask for it
  bool skipped = false;                 // a gradient was not finite, and no parameter was updated
};

/// Figures over a test set: means over its samples.
struct Evaluation {
  double loss = 0;
  std::vector<std::pair<std::string, double>> metrics;
};

class Batches;

template <class Set>
constexpr bool kIsDataSet = std::is_base_of_v<data::DataSet, std::remove_cvref_t<Set>>;

/// Trains a model. One thread. Throws Error (peer_lost: exit code 3; invalid, unsupported: 2). The constructor blocks until all workers have
/// the parameters; step() of a step's last slice blocks until the update is done, at most job.step_timeout_s.
///
/// The trainer borrows the model: while it lives, the parameters are views of its memory. When it ends, every parameter gets memory of its own
/// back, with its last value. A parameter belongs to the newest trainer that was made of it.
class Trainer {
 public:
  /// net: a TORCH_MODULE holder or shared_ptr, of which a copy is kept; or a module itself, which must outlive the trainer. Worker 0's
  /// parameters and buffers go to all. After every step `.grad()` of the parameters is undefined.
  template <class Net>
    requires(!std::is_same_v<std::remove_cvref_t<Net>, Model>)
  Trainer(job::Job& job, Net&& net, const strategy::Strategy& strategy, const Optimizer& optimizer,
          const TrainerOptions& options = {})
      : Trainer(job, model_of(std::forward<Net>(net)), strategy, std::optional(optimizer), options) {}
  /// Without an optimizer: every worker keeps its own copy, average() leaves mean gradients, and the user's own torch::optim updates.
  template <class Net>
    requires(!std::is_same_v<std::remove_cvref_t<Net>, Model>)
  Trainer(job::Job& job, Net&& net, const strategy::Strategy& strategy, const TrainerOptions& options = {})
      : Trainer(job, model_of(std::forward<Net>(net)), strategy, std::nullopt, options) {}
  Trainer(job::Job& job, Model model, const strategy::Strategy& strategy, std::optional<Optimizer> optimizer,
          const TrainerOptions& options = {});
  ~Trainer();
  Trainer(Trainer&&) noexcept;
  Trainer& operator=(Trainer&&) noexcept;

  /// The whole loop: for every batch, a step on its loss, and evaluations where FitOptions has them. Modules stay in training or evaluation mode, as
  /// they are.
  void fit(const data::DataSet& set, const Loss& loss, const FitOptions& options);

  /// This worker's slices, until all steps are done. Each is answered by one step() or average(). A loop that is left early ends there: the next
  /// one goes on after the last update. `set` outlives the loop.
  Batches batches(const data::DataSet& set, const FitOptions& options);
  Batches batches(const data::DataSet&& set,
                  const FitOptions& options) = delete;  // the set would be gone before the loop
  /// torch's own data sets are wrapped.
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

  /// zero_grad, backward from this slice's share of the batch, and the update when the step's last slice is in. `loss` is the mean over the
  /// slice. All workers call it equally often. If backward throws, the trainer can go on where nothing has gone to other workers yet;
  /// otherwise it says so at its next use.
  StepResult step(const at::Tensor& loss, const StepOptions& options = {});
  /// Backward, and the mean gradient over all workers in `.grad()`, undefined where no worker has one. Only where the strategy can
  /// (Capabilities::average), without an optimizer. The result is that of the mean gradient; the update is yours.
  StepResult average(const at::Tensor& loss, const StepOptions& options = {});
  /// Ends the loop that is running for all workers (asynchronous modes): no further step is handed out. In synchronous modes all workers leave the
  /// loop by themselves.
  void stop();

  /// The one way to write parameters by hand: all workers call it between steps, f runs on worker 0, and the parameters it leaves are
  /// everybody's, servers included; buffers too, but for those that are each worker's own. Blocks until they are. Optimizer state stays. Not within
  /// an asynchronous loop.
  void write(const std::function<void()>& f);

  /// Calls f while the parameters are their moving averages (TrainerOptions::ema): evaluate() and save() in it are of those. Then the parameters are
  /// back, bit for bit, also where f throws. All workers call it between steps, and f does the same at all of them; it neither trains nor writes
  /// parameters (invalid). Before the first update averages and parameters are the same. Not within an asynchronous loop. Blocks as write() does.
  void with_ema(const std::function<void()>& f);

  /// Sets learning rates by hand, from the next step on, until they are set again; the schedule goes on multiplying them. The first sets the
  /// optimizer's own, which groups without a rate of their own follow; the second that of a group, from 0. All workers call it between the same
  /// steps, or before step() within a loop; not within an asynchronous loop. Never blocks.
  void set_lr(double lr);
  void set_lr(std::size_t group, double lr);

  /// Tells the schedule plateau the loss of an evaluation, in a loop of your own; fit() does so after each of its evaluations. The rates may fall with
  /// the next step. All workers call it with the same loss, between the same steps. What it knows is in checkpoints. Never blocks.
  void plateau(double loss);

  /// Means over the test set, in evaluation mode, the same at all workers. All workers call it with the same set, loss and metrics; blocks until
  /// all are through, at most job.step_timeout_s longer than this one. Each computes a part of the batches, and the sums have the same bits for any
  /// number of workers; where floating-point buffers are each worker's own, and within an asynchronous loop, worker 0 computes all. A batch's random numbers are functions of seed and batch; LibTorch's own go on afterwards as if none had been drawn. Modules return to the
  /// mode that each of them had.
  Evaluation evaluate(const data::DataSet& set, const Loss& loss, const Metrics& metrics = {},
                      std::int64_t batch = 500);

  /// Copies of the parameters as they are after the last update, whole. All workers call it where layers are split.
  NamedTensors parameters();
  /// Worker 0 writes a safetensors file of parameters and buffers; all workers call it.
  void save(const std::string& path);

  /// Writes a checkpoint into the folder, which is made: parameters, optimizer state, worker 0's buffers, where the loop is, the values and random
  /// generators of all workers; and the same of the job's other trainers that live, which must be between steps too. All workers call it between the
  /// same two steps, not within an asynchronous loop (there FitOptions::checkpoint writes them). Blocks until it is on the disk. Without an optimizer
  /// the parameters must be the same at all workers (invalid), and the state of your own is a value(). If it cannot be written, or another
  /// job writes into the folder (invalid), older ones stay and the trainer can go on.
  void save_checkpoint(const std::string& folder);
  /// Before the first step and loop: goes on from the newest good checkpoint in the folder, or from the one that `folder` is. All workers call it, with
  /// any number of workers and servers, under any strategy; so does each trainer that the checkpoint is of. Then the program runs as it did: a loop that had ended yields no
  /// batch, the one that was broken goes on where it was. A loop of your own begins at the update that resume() returns, and brings its samples and
  /// random numbers to that point itself. Returns the updates that had been done; 0: there is no good checkpoint, and nothing has
  /// changed. invalid: the checkpoint is of another model, optimizer, seed, number of slices or data.
  std::int64_t resume(const std::string& folder);

  /// A text of the program's own, or any bytes, "" at first, that checkpoints keep: resume() gives each worker its own where there are as many as there
  /// were, and else all of them worker 0's. The reference stays valid as long as the trainer. invalid: a name that begins with "fit.".
  std::string& value(const std::string& name);

  strategy::Engine& engine();
  /// Updates done so far, over all workers; those before a resume() included.
  std::int64_t steps_done() const;
  const StepTimes& times() const;
  /// Blocks until all workers are here, says goodbye to servers and peers, and gives the model its memory back; nothing can be trained
  /// afterwards. The job's close() does it, if nobody did.
  void close();

 private:
  friend class Batches;
  class Run;
  std::shared_ptr<Run> run_;
};

/// A range of batches for one loop; ends by itself in every mode. Leaving it early, also by an exception, ends the loop.
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
  Batches(std::shared_ptr<Trainer::Run> run, std::int64_t loop) : run_(std::move(run)), loop_(loop) {}
  std::optional<data::Batch> next();
  std::shared_ptr<Trainer::Run> run_;
  std::int64_t loop_;  // its number: a newer loop ends it
};

}  // namespace cohaul::train
