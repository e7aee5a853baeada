#include <cohaul/cohaul.h>
#include <torch/nn.h>

namespace F = torch::nn::functional;

struct NetImpl : torch::nn::Module {
  torch::nn::Linear hidden{784, 64}, out{64, 10};
  NetImpl() { register_module("hidden", hidden), register_module("out", out); }
  torch::Tensor forward(torch::Tensor x) { return out(torch::relu(hidden(x.flatten(1)))); }
};
TORCH_MODULE(Net);

int main() {
  return cohaul::run([](cohaul::Job& job) {    // joins from the environment, says goodbye; an Error is one line on stderr and an exit code
    Net net;                                   // yours: a TORCH_MODULE holder or a shared_ptr
    auto data = cohaul::data::open("fashion-mnist");
    auto loss = [&](const cohaul::Batch& b) { return F::cross_entropy(net->forward(b.input), b.target); };
    cohaul::Trainer trainer(job, net, cohaul::ParameterServer{.servers = 2, .consistency = cohaul::Bounded{.staleness = 4}},
                            cohaul::Sgd{.lr = 0.01});
    trainer.fit(data.train, loss, {.batch = 100, .steps = 1000});
    trainer.evaluate(data.test, loss, {{"accuracy", cohaul::accuracy(net)}});
  });
}
