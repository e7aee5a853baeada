// cohaul bench parameters: a step of very many small parameters in one process, compared with torch::optim::SGD.
//
// Both learn the same loss from the same values, and must end with the same parameters. A third program runs backward alone; a step minus backward is
// the trainer's own time. The three alternate, a block of steps each; figures are medians of the blocks.

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <torch/optim/sgd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cohaul/base/exit_code.h"
#include "cohaul/observe/format.h"
#include "cohaul/observe/table.h"
#include "cohaul/train/trainer.h"
#include "median.h"

namespace cohaul::bench {
namespace {

constexpr double kLr = 0.01, kMomentum = 0.9;

std::vector<at::Tensor> parameters_of(int count, int elements) {
  std::vector<at::Tensor> out;
  const at::Tensor all = at::randn({count, elements}, at::make_generator<at::CPUGeneratorImpl>(7));
  for (int i = 0; i < count; ++i) out.push_back(all[i].clone().set_requires_grad(true));
  return out;
}

/// Returns half of the sum of squares. All parameters are in one node of the graph, so backward is as short as possible.
at::Tensor loss_of(const std::vector<at::Tensor>& parameters) { return at::cat(parameters).square().sum() * 0.5; }

/// Returns the milliseconds of one step, measured over a block of steps.
template <class Step>
double timed_ms(int steps, Step step) {
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < steps; ++i) step();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun).count() / steps;
}

int run(int count, int elements, int blocks, int steps, const std::string& file) {
  at::set_num_threads(1);
  auto theirs = parameters_of(count, elements), ours = parameters_of(count, elements),
       bare = parameters_of(count, elements);
  torch::optim::SGD sgd(theirs, torch::optim::SGDOptions(kLr).momentum(kMomentum));
  auto job = or_throw(job::Job::join({}));
  train::Model model;
  for (int i = 0; i < count; ++i)
    model.parameters.emplace_back("p" + std::to_string(i), ours[static_cast<std::size_t>(i)]);
  model.train = [](bool) {};
  train::Trainer trainer(*job, model, strategy::Single{}, train::Sgd{.lr = kLr, .momentum = kMomentum}, {});

  std::vector<double> torch_ms, cohaul_ms, backward_ms;
  for (int block = 0; block <= blocks; ++block) {
    const double a = timed_ms(steps, [&] {
      sgd.zero_grad();
      loss_of(theirs).backward();
      sgd.step();
    });
    const double b = timed_ms(steps, [&] { trainer.step(loss_of(ours)); });
    const double c = timed_ms(steps, [&] {
      for (at::Tensor& p : bare) p.mutable_grad().reset();
      loss_of(bare).backward();
    });
    if (block == 0) continue;  // the first block is a warm-up
    torch_ms.push_back(a), cohaul_ms.push_back(b), backward_ms.push_back(c);
  }
  for (int i = 0; i < count; ++i)
    if (!at::allclose(ours[static_cast<std::size_t>(i)].detach(), theirs[static_cast<std::size_t>(i)].detach(), 1e-5,
                      1e-7)) {
      std::cerr << "parameter " << i << " is not torch::optim's\n";
      return kFailed;
    }
  trainer.close();
  or_throw(job->close());

  const double t = median(torch_ms), c = median(cohaul_ms), b = median(backward_ms);
  const double own_us = (c - b) * 1e3 / count, torch_us = (t - b) * 1e3 / count;
  observe::Table table({"program", "ms/step", "own us/parameter"});
  table.row({"torch::optim::SGD", observe::fixed(t, 2), observe::fixed(torch_us, 2)});
  table.row({"cohaul", observe::fixed(c, 2), observe::fixed(own_us, 2)});
  table.row({"backward alone", observe::fixed(b, 2), "-"});
  std::cout << count << " parameters of " << elements << " elements, one process, one thread, momentum, medians of "
            << blocks << "\n\n"
            << table.text() << "\ntorch / cohaul: " << observe::fixed(t / c, 2) << "\n";
  if (!file.empty())
    std::ofstream(file) << nlohmann::json{{"parameters", count}, {"elements", elements}, {"torch_ms", t},
                                          {"cohaul_ms", c},      {"backward_ms", b},     {"own_us", own_us},
                                          {"ratio", t / c}}
                               .dump(1)
                        << "\n";
  return kDone;
}

}  // namespace
}  // namespace cohaul::bench

int main(int argc, char** argv) {
  CLI::App app("A step of very many small parameters in one process, beside torch::optim::SGD",
               "cohaul bench parameters");
  int count = 10'000, elements = 100, blocks = 15, steps = 20;
  std::string file;
  app.add_option("--parameters", count, "Number of parameters")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--elements", elements, "Elements of each parameter")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--blocks", blocks, "Blocks of each program")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--steps", steps, "Steps of a block")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--json", file, "Also write the figures to this file");
  CLI11_PARSE(app, argc, argv);
  try {
    return cohaul::bench::run(count, elements, blocks, steps, file);
  } catch (const std::exception& e) {
    std::cerr << "cohaul bench parameters: " << e.what() << "\n";
    return cohaul::kFailed;
  }
}
