#pragma once
// The parameter server at work, seen from a worker.

#include <memory>

#include "cohaul/strategy/engine.h"

namespace cohaul::strategy {

/// Where the job has no server processes, worker w runs the servers k with k mod workers = w, each on a thread of its own.
Result<std::unique_ptr<Engine>> make_server_engine(const ParameterServer& strategy, job::Job& job,
                                                   const EngineOptions& options);

}  // namespace cohaul::strategy
