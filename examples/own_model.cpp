#include <cohaul/cohaul.h>
#include <torch/nn.h>

namespace F = torch::nn::functional;

// cohaul train JOB.toml --program ./own_model, with model.name = "two_layers" and model.width in JOB.toml
int main(int argc, char** argv) {
  return cohaul::worker_main(argc, argv, {{"two_layers", [](const cohaul::ModelSettings& settings) {
    auto width = settings.sizes.contains("width") ? settings.sizes.at("width") : 64;
    torch::nn::Sequential net(torch::nn::Flatten(), torch::nn::Linear(784, width), torch::nn::ReLU(), torch::nn::Linear(width, 10));
    auto loss = [net](const cohaul::Batch& b) mutable { return F::cross_entropy(net->forward(b.input), b.target); };
    return cohaul::worker_model(net, loss, {{"accuracy", cohaul::accuracy(net)}});
  }}});
}
