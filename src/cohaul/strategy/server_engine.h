#pragma once
// The engine of a worker under the strategy ParameterServer.

#include <memory>

#include "cohaul/strategy/engine.h"

namespace cohaul::strategy {

/// Makes the engine and connects it to the servers. Where the job has no server processes, worker w runs the servers k with k mod workers = w, each
/// on a thread of its own.
Result<std::unique_ptr<Engine>> make_server_engine(const ParameterServer& strategy, job::Job& job,
                                                   const EngineOptions& options);

}  // namespace cohaul::strategy
