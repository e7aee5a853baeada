#pragma once
// The reference: torch::optim in one process, with the same slices, whose gradients are added in the same tree.

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "outcome.h"
#include "program.h"

namespace torch::optim {
class Optimizer;
class ReduceLROnPlateauScheduler;
}  // namespace torch::optim

namespace cohaul::programs {

/// torch::optim's optimizer of a rule, with the rule's schedule.
class TorchOptimizer {
 public:
  /// rate: a factor of the rule's rate.
  TorchOptimizer(const Rule& rule, double rate, const std::vector<std::pair<std::string, at::Tensor>>& parameters);
  /// Clips the gradients and makes a step. Skips the step if the rule says so and a gradient is not finite. Returns whether it made the step.
  bool step();
  std::int64_t steps() const { return steps_; }
  /// See Hands::set_rate.
  void set_rate(bool of_group, double lr);
  /// See Hands::tell_plateau.
  void tell_plateau(double loss);

 private:
  double schedule_factor() const;
  const Rule rule_;
  std::vector<at::Tensor> parameters_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  std::shared_ptr<torch::optim::ReduceLROnPlateauScheduler> plateau_;
  std::vector<double> rates_;  // rates of its groups, before the schedule
  std::int64_t steps_ = 0;
};

/// Runs a program. Throws LibTorch's exceptions if LibTorch does not accept the program. Only one thread at a time, because LibTorch has one
/// generator.
Outcome run_reference(const Program& program);

/// Returns the seed of worker 0's parameters, or of another worker's, which do not matter.
std::uint64_t init_seed(const Program& program, int worker);

}  // namespace cohaul::programs
