#pragma once
// A worker process of `cohaul train`: the zoo's (cohaul-worker), or a user's own program (`--program`), which brings
// its own models.

#include <functional>
#include <map>
#include <string>
#include <utility>

#include "cohaul/model/zoo.h"
#include "cohaul/train/trainer.h"

namespace cohaul::cli {

/// What a model's maker gives.
struct WorkerModel {
  train::Model model;
  train::Loss loss;  // scalar: the mean over the batch
  train::Metrics metrics;
};

/// Makes a model from `model.name`, `model.init` and the whole numbers among `model.*`. torch's generator has been
/// seeded with train.seed.
using ModelMaker = std::function<WorkerModel(const model::ModelSettings&)>;
using ModelTable = std::map<std::string, ModelMaker>;

/// Of a TORCH_MODULE holder or shared_ptr.
template <class Net>
WorkerModel worker_model(Net net, train::Loss loss, train::Metrics metrics = {}) {
  return {train::model_of(std::move(net)), std::move(loss), std::move(metrics)};
}

/// The whole main of a worker: `own` models first, then the zoo's. Arguments are the command's (--check, --job,
/// --record, --csv, --tensorboard, --quiet); returns the exit code.
int worker_main(int argc, char** argv, const ModelTable& own = {});

}  // namespace cohaul::cli
