// A user's own program that prints before its job and in each step: own_prints DATA DONE [twice]. It writes its result into the file DONE. A program
// that it starts can still be ended by SIGPIPE.
#include <signal.h>
#include <torch/nn.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>

#include "cohaul/cohaul.h"

namespace F = torch::nn::functional;

int main(int argc, char** argv) {
  std::cout << "it prints before its job" << std::endl;
  const auto train = [&](cohaul::Job& job) {
    torch::nn::Sequential net(torch::nn::Flatten(), torch::nn::Linear(784, 10));
    const auto data = cohaul::data::open("idx", argv[1]).train;
    cohaul::Trainer trainer(job, net, cohaul::AllReduce{}, cohaul::Sgd{.lr = 0.01});
    for (const auto& b : trainer.batches(data, {.batch = 12, .steps = 100, .log_every = 1})) {
      std::printf("it prints in each step\n"), std::fflush(stdout);
      trainer.step(F::cross_entropy(net->forward(b.input), b.target));
    }
    trainer.close();
    if (job.rank() != 0) return;
    const int ended = std::system("bash -c 'kill -PIPE $$; exit 0'");
    std::ofstream(argv[2], std::ios::app) << (ended == 0 ? "SIGPIPE was inherited\n" : "all steps are done\n");
  };
  const int first = cohaul::run(train);
  return argc > 3 && first == 0 ? cohaul::run(train) : first;
}
