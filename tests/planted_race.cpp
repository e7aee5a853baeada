// A race on purpose, in the place where it is hardest to see: a function that autograd calls while two workers train in one process.

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include "cohaul/job/test_workers.h"
#include "cohaul/train/trainer.h"

using namespace cohaul;

int main() {
  long gradients = 0;  // written by both workers, guarded by nothing
  job::with_workers(2, [&](job::Job& job) {
    at::Tensor weight = at::full({4}, 1, at::kFloat).set_requires_grad(true);
    weight.register_hook([&](const at::Tensor& gradient) { return ++gradients, gradient; });
    train::Model model;
    model.parameters = {{"weight", weight}};
    model.train = [](bool) {};
    train::Trainer trainer(job, model, strategy::AllReduce{}, train::Sgd{.lr = 0.1}, {});
    for (int i = 0; i < 20; ++i) trainer.step(weight.sum());
    train::or_throw(job.close());
  });
}
