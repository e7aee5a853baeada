#pragma once
// The main function of a worker process of `cohaul train`: of cohaul-worker, or of the user's own program (`--program`) with models of its own.

#include <functional>
#include <map>
#include <string>
#include <utility>

#include "cohaul/model/settings.h"
#include "cohaul/train/trainer.h"

namespace cohaul::cli {

/// A model with the loss and metrics to train it with.
struct WorkerModel {
  train::Model model;
  train::Loss loss;  // scalar: the mean over the batch
  train::Metrics metrics;
};

/// A function that makes a model from `model.name`, `model.init` and the whole numbers among `model.*`. It is called after torch's generator has been
/// seeded with train.seed.
using ModelMaker = std::function<WorkerModel(const model::ModelSettings&)>;
using ModelTable = std::map<std::string, ModelMaker>;

/// Returns the WorkerModel of a TORCH_MODULE holder or shared_ptr, which is copied.
template <class Net>
WorkerModel worker_model(Net net, train::Loss loss, train::Metrics metrics = {}) {
  return {train::model_of(std::move(net)), std::move(loss), std::move(metrics)};
}

/// Runs a worker; a program calls it from main() and returns its result, the exit code. Models are looked up in `own` first, then in the zoo. The
/// arguments come from `cohaul train` (--check, --job, --record, --csv, --tensorboard, --quiet).
int worker_main(int argc, char** argv, const ModelTable& own = {});

}  // namespace cohaul::cli
