// A user's own program with an endless loop that writes checkpoints: own_signals DATA FOLDER [handler]. With "handler" the program handles SIGTERM
// itself: it leaves the loop and prints that.
#include <signal.h>
#include <torch/nn.h>

#include <atomic>
#include <cstdio>
#include <string_view>

#include "cohaul/cohaul.h"

namespace F = torch::nn::functional;

namespace {

std::atomic<bool> asked{false};
void on_term(int) { asked = true; }

}  // namespace

int main(int argc, char** argv) {
  const bool handles = argc > 3 && std::string_view(argv[3]) == "handler";
  if (handles) ::signal(SIGTERM, on_term);
  return cohaul::run([&](cohaul::Job& job) {
    torch::nn::Sequential net(torch::nn::Flatten(), torch::nn::Linear(784, 10));
    const auto data = cohaul::data::open("idx", argv[1]).train;
    cohaul::Trainer trainer(job, net, cohaul::AllReduce{}, cohaul::Sgd{.lr = 0.01}, {.slices = 2});
    cohaul::FitOptions options{.batch = 12, .steps = 1'000'000'000, .log_every = 1'000'000};
    options.checkpoint = {.folder = argv[2]};
    for (const auto& b : trainer.batches(data, options)) {
      if (asked) break;
      const cohaul::StepResult result = trainer.step(F::cross_entropy(net->forward(b.input), b.target));
      if (result.complete && result.update == 10) std::puts("trains"), std::fflush(stdout);
    }
    if (asked) std::puts("left by its own handler");
  });
}
