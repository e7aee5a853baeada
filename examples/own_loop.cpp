#include <cohaul/cohaul.h>
#include <torch/nn.h>

namespace F = torch::nn::functional;

int main() {
  return cohaul::run([](cohaul::Job& job) {
    torch::nn::Sequential net(torch::nn::Flatten(), torch::nn::Linear(784, 10));
    auto dataset = cohaul::data::open("fashion-mnist").train;
    cohaul::Strategy strategy = cohaul::AllReduce{};

    cohaul::Trainer trainer(job, net, strategy, cohaul::Sgd{.lr = 0.01});                 // was: torch::optim::SGD optimizer(…)
    for (auto& b : trainer.batches(dataset, {.batch = 100, .steps = 1000})) {             // was: the data loader; ends by itself in every mode
      trainer.step(F::cross_entropy(net->forward(b.input), b.target));                    // was: zero_grad(); loss.backward(); optimizer.step();
    }
    trainer.close();
  });
}
