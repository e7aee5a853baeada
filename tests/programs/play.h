#pragma once
// What a program does by itself, under torch::optim as under Cohaul: its models, its losses, and what its author does between steps.

#include <functional>

#include "net.h"
#include "outcome.h"

namespace cohaul::programs {

enum class Which { model, second };

/// What differs: the hands of torch::optim, or a trainer's.
class Hands {
 public:
  virtual ~Hands() = default;
  virtual bool first() const = 0;  // worker 0
  virtual void write(const std::function<void()>& f) = 0;
  /// The mean of a loss over the test set.
  virtual double evaluate(const std::function<at::Tensor(const data::Batch&)>& loss) = 0;
  virtual void save() = 0;
  /// Of the model's optimizer: of all that have no rate of their own, or of the first group.
  virtual void set_rate(bool of_group, double lr) = 0;
  /// Of the model's schedule.
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
  /// program outlives it. init_seed: of the parameters; worker 0's count.
  Play(const Program& program, std::uint64_t init_seed);
  Play(const Play&) = delete;

  const Program& program;
  Net net;
  Second second{nullptr};  // if the program has it

  torch::nn::Module& module(Which which);
  /// Of a slice, in training. Own random numbers start from (seed, place) where the trainer gives none.
  at::Tensor loss(Which which, const data::Batch& batch, const Place& place);
  void seed(const Place& place) const;

  /// Does what stands there. again: before a worker's further slices of the step; nothing is noted.
  void events(int step, When when, Hands& hands, bool again = false);
  void note(int step, Which which, const SeenStep& seen);
  void note(const std::string& what, double value, bool everywhere = true);

  /// All trainers are made: the parameters as they are now.
  void begin();
  /// Looks at the moving averages, if there are any.
  void averages(int step, Hands& hands);
  /// All trainers are gone: what came out.
  Outcome finish();

 private:
  void perform(const Event& event, Hands& hands);
  void probe(const Event& event, bool everywhere);
  void write(const Event& event, Hands& hands);
  /// torch::load of other parameters, and other buffers.
  void load(int step);
  double norm(const std::vector<at::Tensor>& gradients);

  bool quiet_ = false;
  Outcome outcome_;
  std::vector<at::Tensor> beginnings_;
};

/// Each parameter once, however often it is registered.
std::vector<std::pair<std::string, at::Tensor>> distinct_parameters(torch::nn::Module& module);

}  // namespace cohaul::programs
