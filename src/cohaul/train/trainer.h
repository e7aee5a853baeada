#pragma once
// Trainer: trains a model on all workers of a job under one strategy. Its loop knows no strategy by name.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cohaul/collective/group.h"
#include "cohaul/data/accuracy.h"
#include "cohaul/data/data_set.h"
#include "cohaul/job/job.h"
#include "cohaul/strategy/engine.h"
#include "cohaul/strategy/strategy.h"
#include "cohaul/train/error.h"
#include "cohaul/train/optimizer.h"
#include "cohaul/train/report.h"
#include "cohaul/train/state.h"

namespace cohaul::train {

using Loss = std::function<at::Tensor(const data::Batch&)>;
using Metrics = std::vector<std::pair<std::string, data::Metric>>;

struct FitOptions {
  std::int64_t batch = 1;   // samples per update: over all workers in synchronous modes, per push in asynchronous ones
  std::int64_t steps = 0;   // updates, over all workers; or
  std::int64_t epochs = 0;  // passes over the data
  bool shuffle = true;
  std::int64_t log_every = 100;  // steps between reported losses
};

struct TrainerOptions {
  int slices = 0;                // parts of a batch, each its own forward and backward; 0: one per data-parallel worker
  std::uint64_t seed = 0;        // of the order of samples and of the model's random numbers
  Reporter* reporter = nullptr;  // where steps and results go; null: progress on worker 0's stderr
  collective::Group* layer_group = nullptr;  // over which layers are split (tensor); outlives the trainer
};

/// Figures over a test set: means over its samples.
struct Evaluation {
  double loss = 0;
  std::vector<std::pair<std::string, double>> metrics;
};

class Batches;

/// One thread. Throws Error (peer_lost: exit code 3; invalid, unsupported: 2). Blocks in the constructor until all workers have the parameters, in
/// step() of a step's last slice until the update is done, at most job.step_timeout_s.
class Trainer {
 public:
  /// net: whatever has named_parameters(), named_buffers() and train(bool) behind `->` (a TORCH_MODULE holder or shared_ptr). Worker 0's parameters
  /// and buffers go to all. From here on the parameters' memory is the trainer's, which must outlive their use in training; write
  /// to them only through it. With an optimizer, `.grad()` stays undefined.
  template <class Net>
    requires(!std::is_same_v<std::remove_const_t<Net>, Model>)
  Trainer(job::Job& job, Net& net, const strategy::Strategy& strategy, const Optimizer& optimizer,
          const TrainerOptions& options = {})
      : Trainer(job, model_of(net), strategy, std::optional(optimizer), options) {}
  /// Without one: every worker keeps its own copy, average() leaves mean gradients, and the user's own torch::optim updates.
  template <class Net>
    requires(!std::is_same_v<std::remove_const_t<Net>, Model>)
  Trainer(job::Job& job, Net& net, const strategy::Strategy& strategy, const TrainerOptions& options = {})
      : Trainer(job, model_of(net), strategy, std::nullopt, options) {}
  Trainer(job::Job& job, Model model, const strategy::Strategy& strategy, std::optional<Optimizer> optimizer,
          const TrainerOptions& options);
  ~Trainer();
  Trainer(const Trainer&) = delete;

  /// The whole loop: for every batch, a step on its loss.
  void fit(const data::DataSet& set, const Loss& loss, const FitOptions& options);

  /// This worker's slices, until all steps are done. Each must be answered by one step() or average().
  Batches batches(const data::DataSet& set, const FitOptions& options);
  /// Backward from this slice's share of the batch; the update when the step's last slice is in. `loss` is the mean over the slice.
  void step(const at::Tensor& loss);
  /// Backward, and the mean gradient over all workers in `.grad()`. Only where the strategy can (Capabilities::average), without an optimizer.
  void average(const at::Tensor& loss);

  /// Means over the test set, in evaluation mode, on worker 0 (other workers get zeros; under split layers all compute). All workers call it;
  /// blocks until worker 0 is through.
  Evaluation evaluate(const data::DataSet& set, const Loss& loss, const Metrics& metrics = {},
                      std::int64_t batch = 500);

  /// The parameters as they are after the last update, whole. All workers call it where layers are split.
  NamedTensors parameters();
  /// Worker 0 writes a safetensors file of parameters and buffers; all workers call it.
  void save(const std::string& path);

  strategy::Engine& engine() { return *engine_; }
  /// Updates done so far, over all workers.
  std::int64_t steps_done() const;
  const StepTimes& times() const;
  /// Blocks until all workers are here, then says goodbye to servers and peers; nothing can be trained afterwards. The job's close() does it, if
  /// nobody did.
  void close();

 private:
  friend class Batches;
  struct Run;
  std::optional<data::Batch> next_batch();
  bool open_step();
  void backward(const at::Tensor& loss, double share);
  void end_step();

  std::shared_ptr<Run> run_;
  strategy::Engine* engine_ = nullptr;
};

/// A range of batches for one loop; ends by itself in every mode.
class Batches {
 public:
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = data::Batch;
    using difference_type = std::ptrdiff_t;
    using pointer = const data::Batch*;
    using reference = const data::Batch&;
    explicit iterator(Trainer* trainer) : trainer_(trainer) { ++*this; }
    iterator() = default;
    reference operator*() const { return *batch_; }
    pointer operator->() const { return &*batch_; }
    iterator& operator++() {
      batch_ = trainer_->next_batch();
      return *this;
    }
    bool operator==(const iterator& other) const { return batch_.has_value() == other.batch_.has_value(); }

   private:
    Trainer* trainer_ = nullptr;
    std::optional<data::Batch> batch_;
  };
  explicit Batches(Trainer* trainer) : trainer_(trainer) {}
  iterator begin() { return iterator(trainer_); }
  iterator end() { return {}; }

 private:
  Trainer* trainer_;
};

}  // namespace cohaul::train
