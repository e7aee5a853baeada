#include <cohaul/cohaul.h>
#include <torch/nn.h>

namespace F = torch::nn::functional;

cohaul::Strategy chosen(const std::string& name) {
  if (name == "single") return cohaul::Single{};
  if (name == "sync") return cohaul::ParameterServer{.servers = 2};
  if (name == "async") return cohaul::ParameterServer{.servers = 2, .consistency = cohaul::Asynchronous{}};
  if (name == "bounded") return cohaul::ParameterServer{.servers = 2, .consistency = cohaul::Bounded{.staleness = 3}};
  return cohaul::AllReduce{};
}

int main(int argc, char** argv) {
  return cohaul::run([&](cohaul::Job& job) {
    torch::nn::Sequential net(torch::nn::Flatten(), torch::nn::Linear(784, 10));
    auto dataset = cohaul::data::open("fashion-mnist").train;
    cohaul::Strategy strategy = chosen(argc > 1 ? argv[1] : "all_reduce");

    cohaul::Trainer trainer(job, net, strategy, cohaul::Sgd{.lr = 0.01});                 // was: torch::optim::SGD optimizer(…)
    for (auto& b : trainer.batches(dataset, {.batch = 100, .steps = 1000})) {             // was: the data loader; ends by itself in every mode
      trainer.step(F::cross_entropy(net->forward(b.input), b.target));                    // was: zero_grad(); loss.backward(); optimizer.step();
    }
  });
}
