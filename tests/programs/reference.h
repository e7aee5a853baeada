#pragma once
// The reference: torch::optim in one process, on the same slices, their gradients added in the same tree.

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
  /// rate: relative to the rule's.
  TorchOptimizer(const Rule& rule, double rate, const std::vector<std::pair<std::string, at::Tensor>>& parameters);
  /// Clips the gradients, and steps; leaves the step out where the rule skips and one is not finite. Returns whether it stepped.
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
  std::vector<double> rates_;  // of its groups, before the schedule
  std::int64_t steps_ = 0;
};

/// Throws what LibTorch throws, for a program that it does not accept. Not by two threads at once: LibTorch's generator is one.
Outcome run_reference(const Program& program);

/// The seed of worker 0's parameters, and of another worker's, which do not count.
std::uint64_t init_seed(const Program& program, int worker);

}  // namespace cohaul::programs
