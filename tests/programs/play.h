#pragma once
// What a program does both under torch::optim and under Cohaul: its models, its losses, and what its author does between steps.

#include <functional>

#include "net.h"
#include "outcome.h"

namespace cohaul::programs {

enum class Which { model, second };

/// What differs between the two: actions done by torch::optim or by a trainer.
class Hands {
 public:
  virtual ~Hands() = default;
  virtual bool first() const = 0;  // whether this is worker 0
  virtual void write(const std::function<void()>& f) = 0;
  /// Returns the mean of a loss over the test set.
  virtual double evaluate(const std::function<at::Tensor(const data::Batch&)>& loss) = 0;
  virtual void save() = 0;
  /// Sets a rate of the model's optimizer: of all parameters without a rate of their own, or of the first group.
  virtual void set_rate(bool of_group, double lr) = 0;
  /// Gives a loss to the model's schedule.
  virtual void tell_plateau(double loss) = 0;
  /// Calls f while a model's parameters are their moving averages.
  virtual void with_averages(Which which, const std::function<void()>& f) = 0;
};

/// A step as the program sees it.
struct SeenStep {
  double loss = 0;
  std::optional<double> norm;
  bool skipped = false;
  std::int64_t update = 0;
};

class Play {
 public:
  /// program must outlive it. init_seed: of the parameters; only worker 0's matters.
  Play(const Program& program, std::uint64_t init_seed);
  Play(const Play&) = delete;

  const Program& program;
  Net net;
  Second second{nullptr};  // if the program has it

  torch::nn::Module& module(Which which);
  /// Returns the loss of a slice, in training. Random numbers are seeded with (seed, place) if the trainer does not seed them.
  at::Tensor loss(Which which, const data::Batch& batch, const Place& place);
  void seed(const Place& place) const;

  /// Does the events at this point. again: called before a worker's further slices of the step; nothing is recorded then.
  void events(int step, When when, Hands& hands, bool again = false);
  void note(int step, Which which, const SeenStep& seen);
  void note(const std::string& what, double value, bool everywhere = true);

  /// Records the parameters, when all trainers have been made.
  void begin();
  /// Records the moving averages, if there are any.
  void averages(int step, Hands& hands);
  /// Returns the outcome, when all trainers are gone.
  Outcome finish();

 private:
  void perform(const Event& event, Hands& hands);
  void probe(const Event& event, bool everywhere);
  void write(const Event& event, Hands& hands);
  /// Loads other parameters and buffers by torch::load.
  void load(int step);
  double norm(const std::vector<at::Tensor>& gradients);

  bool quiet_ = false;
  Outcome outcome_;
  std::vector<at::Tensor> beginnings_;
};

/// Returns each parameter once, however often it is registered.
std::vector<std::pair<std::string, at::Tensor>> distinct_parameters(torch::nn::Module& module);

}  // namespace cohaul::programs
