// Trains a cnn with batches of random sizes, and prints the most memory that it used at once, in KiB: memory_use empty|torch|cohaul DATA STEPS.
// "empty" sets up LibTorch and the model, and trains nothing.
#include <ATen/Parallel.h>
#include <torch/nn.h>
#include <torch/optim/sgd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>

#include "cohaul/cohaul.h"

namespace F = torch::nn::functional;
namespace nn = torch::nn;

namespace {

constexpr std::int64_t kBatch = 16;

nn::Sequential cnn() {
  return nn::Sequential(nn::Conv2d(nn::Conv2dOptions(1, 32, 5).padding(2)), nn::ReLU(), nn::MaxPool2d(2),
                        nn::Conv2d(nn::Conv2dOptions(32, 64, 5).padding(2)), nn::ReLU(), nn::MaxPool2d(2),
                        nn::Flatten(), nn::Linear(64 * 7 * 7, 512), nn::ReLU(), nn::Linear(512, 10));
}

/// A random number of samples from the beginning of the batch.
struct Part {
  torch::Tensor loss(nn::Sequential& net, const torch::Tensor& input, const torch::Tensor& target) {
    const std::int64_t n = sizes(random);
    return F::cross_entropy(net->forward(input.narrow(0, 0, n)), target.narrow(0, 0, n));
  }
  std::mt19937 random{1};
  std::uniform_int_distribution<std::int64_t> sizes{1, kBatch};
};

void train_with_torch(nn::Sequential& net, const cohaul::data::Images& set, int steps) {
  torch::optim::SGD optimizer(net->parameters(), 0.01);
  std::vector<std::int64_t> all(kBatch);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i);
  Part part;
  for (int s = 0; s < steps; ++s) {
    const cohaul::Batch b = set.get(all);
    optimizer.zero_grad();
    part.loss(net, b.input, b.target).backward();
    optimizer.step();
  }
}

void train_with_cohaul(nn::Sequential& net, const cohaul::data::Images& set, int steps) {
  cohaul::run([&](cohaul::Job& job) {
    at::set_num_threads(1);
    cohaul::Trainer trainer(job, net, cohaul::Single{}, cohaul::Sgd{.lr = 0.01});
    Part part;
    for (const auto& b : trainer.batches(set, {.batch = kBatch, .steps = steps, .log_every = 1'000'000}))
      trainer.step(part.loss(net, b.input, b.target));
  });
}

long most_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::strtol(line.c_str() + 6, nullptr, 10);
  return 0;
}

}  // namespace

int main(int, char** argv) {
  const std::string how = argv[1];
  at::set_num_threads(1);
  const auto sets = cohaul::data::open("idx", argv[2]);
  nn::Sequential net = cnn();
  const int steps = std::atoi(argv[3]);
  if (how == "torch") train_with_torch(net, sets.train, steps);
  if (how == "cohaul") train_with_cohaul(net, sets.train, steps);
  std::printf("%ld\n", most_memory());
}
