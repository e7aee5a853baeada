// A deliberate race where it is hardest to see: in a function that autograd calls, in two trainings that share nothing but a process.

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include <thread>
#include <vector>

#include "cohaul/train/trainer.h"

using namespace cohaul;

int main() {
  long gradients = 0;  // written by both, without a lock
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i)
    threads.emplace_back([&] {
      auto job = or_throw(job::Job::join({}));
      at::Tensor weight = at::full({4}, 1, at::kFloat).set_requires_grad(true);
      weight.register_hook([&](const at::Tensor& gradient) { return ++gradients, gradient; });
      train::Model model;
      model.parameters = {{"weight", weight}};
      model.train = [](bool) {};
      train::Trainer trainer(*job, model, strategy::Single{}, train::Sgd{.lr = 0.1}, {});
      for (int step = 0; step < 5'000; ++step) trainer.step(weight.sum());
      or_throw(job->close());
    });
  for (std::thread& t : threads) t.join();
}
