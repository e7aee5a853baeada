#pragma once
// The reference: torch::optim in one process, on the same slices, their gradients added in the same tree.

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "outcome.h"
#include "program.h"

namespace torch::optim {
class Optimizer;
}

namespace cohaul::programs {

/// torch::optim's, of these parameters. rate: relative to the rule's.
std::unique_ptr<torch::optim::Optimizer> make_optimizer(const Rule& rule, double rate,
                                                        std::vector<at::Tensor> parameters);
/// Clips the gradients, and steps; leaves the step out where the rule skips and one is not finite. Returns whether it stepped.
bool clip_and_step(const Rule& rule, torch::optim::Optimizer& optimizer, const std::vector<at::Tensor>& parameters);

/// Throws what LibTorch throws, for a program that it does not accept. Not by two threads at once: LibTorch's generator is one.
Outcome run_reference(const Program& program);

/// The seed of worker 0's parameters, and of another worker's, which do not count.
std::uint64_t init_seed(const Program& program, int worker);

}  // namespace cohaul::programs
