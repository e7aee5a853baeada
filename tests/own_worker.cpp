// A user's own program for `--program`. It has models of its own:
//   two_layers   of model.width hidden units
//   dies         one linear layer; each batch takes 20 ms, and worker 1 is killed in the 30th that it sees
//   misfits      one linear layer; LibTorch refuses the shape of the third batch that worker model.worker sees
//   slow         one linear layer; worker 1 takes model.seconds for the third batch that it sees
// If the program's name ends with "absent", its worker 1 never joins; if it ends with "talks", it prints to both streams before worker_main;
// if it ends with "plain", LibTorch uses no wide instructions in its worker 1.
#include <signal.h>
#include <torch/nn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "cohaul/cohaul.h"

namespace F = torch::nn::functional;

namespace {

bool is_worker_1() {
  const char* rank = std::getenv("COHAUL_RANK");
  return rank != nullptr && std::string_view(rank) == "1";
}

cohaul::cli::WorkerModel classifier(torch::nn::Sequential net) {
  auto loss = [net](const cohaul::Batch& b) mutable { return F::cross_entropy(net->forward(b.input), b.target); };
  return cohaul::worker_model(net, loss, {{"accuracy", cohaul::accuracy(net)}});
}

cohaul::cli::WorkerModel two_layers(const cohaul::ModelSettings& settings) {
  const auto width = settings.sizes.at("width");
  return classifier(torch::nn::Sequential(torch::nn::Flatten(), torch::nn::Linear(784, width), torch::nn::ReLU(),
                                          torch::nn::Linear(width, 10)));
}

cohaul::cli::WorkerModel slow(const cohaul::ModelSettings& settings) {
  cohaul::cli::WorkerModel model = classifier(torch::nn::Sequential(torch::nn::Flatten(), torch::nn::Linear(784, 10)));
  model.loss = [loss = model.loss, seconds = settings.sizes.at("seconds"), seen = 0](const cohaul::Batch& b) mutable {
    if (++seen == 3 && is_worker_1()) ::sleep(static_cast<unsigned>(seconds));
    return loss(b);
  };
  return model;
}

cohaul::cli::WorkerModel dies(const cohaul::ModelSettings&) {
  cohaul::cli::WorkerModel model = classifier(torch::nn::Sequential(torch::nn::Flatten(), torch::nn::Linear(784, 10)));
  model.loss = [loss = model.loss, seen = 0](const cohaul::Batch& b) mutable {
    ::usleep(20'000);
    if (++seen == 30 && is_worker_1()) ::raise(SIGKILL);
    return loss(b);
  };
  return model;
}

cohaul::cli::WorkerModel misfits(const cohaul::ModelSettings& settings) {
  cohaul::cli::WorkerModel model = classifier(torch::nn::Sequential(torch::nn::Flatten(), torch::nn::Linear(784, 10)));
  const bool here = is_worker_1() == (settings.sizes.at("worker") == 1);
  model.loss = [loss = model.loss, here, seen = 0](const cohaul::Batch& b) mutable {
    if (++seen == 3 && here) return loss({b.input.flatten(1).narrow(1, 0, 700), b.target});
    return loss(b);
  };
  return model;
}

}  // namespace

int main(int argc, char** argv) {
  if (is_worker_1() && std::string_view(argv[0]).ends_with("absent")) ::sleep(1000);
  if (is_worker_1() && std::string_view(argv[0]).ends_with("plain")) ::setenv("ATEN_CPU_CAPABILITY", "default", 1);
  if (std::string_view(argv[0]).ends_with("talks")) {
    std::printf("hello\n"), std::fflush(stdout);
    std::fprintf(stderr, "it talks\n");
  }
  return cohaul::worker_main(argc, argv,
                             {{"two_layers", two_layers}, {"slow", slow}, {"dies", dies}, {"misfits", misfits}});
}
