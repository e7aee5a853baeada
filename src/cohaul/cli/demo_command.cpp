#include "cohaul/cli/demo_command.h"

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "cohaul/base/exit_code.h"
#include "cohaul/base/temporary_folder.h"
#include "cohaul/cli/child.h"
#include "cohaul/cli/demo_modes.h"
#include "cohaul/observe/format.h"
#include "cohaul/observe/table.h"

namespace cohaul::cli {
namespace {

namespace fs = std::filesystem;
using observe::significant;

constexpr int kCnnSteps = 40;

/// Returns the folder of the shipped job files: the named one, that of the installation, or that of the sources from which this was built.
Result<std::string> find_jobs(const std::string& named, const std::string& own) {
  std::vector<fs::path> places{named};
  if (named.empty()) places = {fs::path(own) / "../share/cohaul/jobs", fs::path(own) / "../../../jobs", "jobs"};
  for (const fs::path& place : places)
    if (std::error_code error; fs::exists(place / "softmax.toml", error)) return place.lexically_normal().string();
  return invalid("no softmax.toml in " + (named.empty() ? "the folders of shipped jobs" : named) +
                 "; name its folder: cohaul demo --jobs FOLDER");
}

class Demo {
 public:
  Demo(std::string cohaul, std::string jobs, int steps, TemporaryFolder scratch)
      : cohaul_(std::move(cohaul)), jobs_(std::move(jobs)), steps_(steps), scratch_(std::move(scratch)) {}

  int run() {
    if (int code = softmax(); code != kDone) return code;
    return cnn();
  }

 private:
  /// Runs `cohaul train` with a record; the losses appear on stderr meanwhile.
  Result<DemoResult> train(const std::string& job, int workers, std::vector<std::string> sets, int& code) {
    const std::string record = scratch_.file("record.jsonl");
    std::vector<std::string> argv{cohaul_,    "train", jobs_ + "/" + job, "--workers", std::to_string(workers),
                                  "--record", record};
    for (std::string& set : sets) {
      argv.push_back("--set");
      argv.push_back(std::move(set));
    }
    COHAUL_ASSIGN(const ChildResult child, run_child(argv, {.capture_out = true}));
    code = child.exit;
    if (child.exit != kDone) return internal("the run ended with exit code " + std::to_string(child.exit));
    return read_result(record);
  }

  static int failed(const Status& status, int code) {
    std::cerr << "cohaul: demo: " << status.message() << "\n";
    return code != kDone ? code : exit_code(status.code());
  }

  int softmax() {
    std::cout << "Softmax regression on Fashion-MNIST: 28x28 images, 10 classes, batch 100,\nlearning rate 0.01, "
              << observe::with_commas(steps_) << " steps, parameters from zero. Six ways to train it.\n";
    observe::Table table(
        {"mode", "workers", "servers", "loss", "accuracy", "samples/s", "staleness mean", "max", "largest difference"});
    int number = 0;
    const std::string reference = scratch_.file("1.safetensors");
    for (const DemoMode& mode : demo_modes()) {
      std::cout << "\n" << ++number << ". " << mode.name << "\n" << mode.sentence << std::endl;
      const std::string saved = scratch_.file(std::to_string(number) + ".safetensors");
      std::vector<std::string> sets = mode.sets;
      for (const std::string& s :
           {"train.steps=" + std::to_string(steps_), std::string("job.threads=1"), "train.save=" + saved})
        sets.push_back(s);
      int code = kDone;
      const auto result = train("softmax.toml", mode.workers, std::move(sets), code);
      if (!result.ok()) return failed(result.status().context(mode.name), code);
      const auto apart = largest_difference(reference, saved);
      if (!apart.ok()) return failed(apart.status().context(mode.name), code);
      table.row({std::to_string(number) + ". " + mode.name, std::to_string(mode.workers), std::to_string(mode.servers),
                 observe::fixed(result->loss, 4), observe::fixed(result->accuracy, 4),
                 observe::rate(result->samples_per_s),
                 result->staleness_mean ? significant(*result->staleness_mean, 2) : "-",
                 result->staleness_max ? significant(*result->staleness_max, 3) : "-", significant(*apart, 2)});
    }
    std::cout << "\n"
              << table.text()
              << "\nLoss and accuracy are the test set's. Largest difference: of a parameter from\n"
                 "one process, relative to the largest of its tensor; 0 is bit for bit.\n"
                 "All but tensor cut each batch into four slices, so that bits can be compared: a\n"
                 "step of four small pieces takes longer than one that is not cut.\n";
    return kDone;
  }

  int cnn() {
    std::cout
        << "\nSo small a model gains nothing from more processes: its step is shorter than\ntheir talk. A small CNN, "
        << kCnnSteps << " steps of 64 images, one thread a worker:" << std::endl;
    observe::Table table({"cnn", "samples/s", "speed-up"});
    double alone = 0;
    for (int workers : {1, 2}) {
      int code = kDone;
      const auto result =
          train("cnn.toml", workers,
                {"train.steps=" + std::to_string(kCnnSteps), "train.log_every=20", "job.threads=1"}, code);
      if (!result.ok()) return failed(result.status().context("cnn"), code);
      if (workers == 1) alone = result->samples_per_s;
      table.row({std::to_string(workers) + (workers == 1 ? " worker" : " workers"),
                 observe::rate(result->samples_per_s), observe::fixed(result->samples_per_s / alone, 2)});
    }
    std::cout << "\n" << table.text() << std::flush;
    return kDone;
  }

  std::string cohaul_, jobs_;
  int steps_;
  TemporaryFolder scratch_;
};

}  // namespace

int run_demo(const DemoArguments& arguments) {
  const auto own = own_folder();
  const auto jobs = own.ok() ? find_jobs(arguments.jobs, *own) : own;
  auto scratch = TemporaryFolder::make("cohaul-demo");
  if (const Status& status = jobs.ok() ? scratch.status() : jobs.status(); !status.ok()) {
    std::cerr << "cohaul: demo: " << status.message() << "\n";
    return exit_code(status.code());
  }
  return Demo(*own + "/cohaul", *jobs, arguments.steps, std::move(*scratch)).run();
}

}  // namespace cohaul::cli
