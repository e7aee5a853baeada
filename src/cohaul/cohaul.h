#pragma once
// Cohaul's face: distributed training of LibTorch models. Brings the user's names into cohaul::.

#include "cohaul/cli/worker_main.h"
#include "cohaul/core.h"
#include "cohaul/data/accuracy.h"
#include "cohaul/data/data_set.h"
#include "cohaul/data/open.h"
#include "cohaul/data/torch_data.h"
#include "cohaul/model/settings.h"
#include "cohaul/strategy/strategy.h"
#include "cohaul/train/error.h"
#include "cohaul/train/optimizer.h"
#include "cohaul/train/run.h"
#include "cohaul/train/trainer.h"
#include "cohaul/train/weights.h"

namespace cohaul {

using train::join;
using train::run;

using data::accuracy;
using data::Batch;
using data::DataSet;
using data::TorchData;

using strategy::AllReduce;
using strategy::Asynchronous;
using strategy::Bounded;
using strategy::ParameterServer;
using strategy::Single;
using strategy::Strategy;
using strategy::Synchronous;
using strategy::Tensor;

using train::Adagrad;
using train::Adam;
using train::AdamW;
using train::Allocator;
using train::Buffers;
using train::CheckpointOptions;
using train::Evaluation;
using train::EvaluationOptions;
using train::FitOptions;
using train::Lamb;
using train::Lars;
using train::Lion;
using train::Model;
using train::NonFinite;
using train::ParameterGroup;
using train::RMSprop;
using train::Schedule;
using train::Sgd;
using train::StepOptions;
using train::StepResult;
using train::Trainer;
using train::TrainerOptions;

using cli::worker_main;
using cli::worker_model;
using model::ModelSettings;

}  // namespace cohaul

namespace cohaul::data {

/// load() for programs: throws Error. With a job, unpacked once a host.
inline Sets open(const std::string& name, const std::string& path = {}, job::Job* job = nullptr) {
  return or_throw(load(name, path, job));
}

}  // namespace cohaul::data
