#include "cohaul/strategy/keys.h"

#include "cohaul/base/limits.h"

#include <string>

namespace cohaul::strategy {
namespace {

const config::OnlyWith kOfServers{"strategy.name", {"parameter_server"}};

}  // namespace

using config::Config;
using config::KeySpec;
using config::Type;

std::vector<KeySpec> strategy_keys() {
  return {
      {.key = "strategy.name",
       .type = Type::string,
       .help = "where parameters live and how gradients travel (single; all_reduce with more workers)",
       .choices = {"single", "all_reduce", "parameter_server", "tensor"},
       .aliases = {"strategy", "mode"}},
      {.key = "strategy.servers",
       .type = Type::integer,
       .help = "server processes",
       .fallback = 1,
       .min = 1,
       .max = ps::kServersMax,
       .aliases = {"num_servers", "ps", "server", "n_servers"},
       .only = kOfServers},
      {.key = "strategy.consistency",
       .type = Type::string,
       .help = "when a push is applied: with all of its step, at once, or at once within a bound",
       .fallback = "sync",
       .choices = {"sync", "async", "bounded"},
       .aliases = {"sync", "async", "mode"},
       .only = kOfServers},
      {.key = "strategy.staleness",
       .type = Type::integer,
       .help = "pushes that a worker may be ahead of the slowest; bounded needs it",
       .min = 0,
       .max = 1e9,
       .aliases = {"bound", "max_staleness", "staleness_bound"},
       .only = {"strategy.consistency", {"bounded"}}},
      {.key = "strategy.backup_workers",
       .type = Type::integer,
       .help = "workers that a step need not wait for (not available yet)",
       .min = 0,
       .max = job::kLaunchedMax,
       .aliases = {"backups"},
       .only = kOfServers},
  };
}

Status check_strategy(const Config& job) {
  const auto name = job.get<std::string>("strategy.name");
  const auto workers = job.get<std::int64_t>("job.workers");
  if (name == "single" && workers > 1) {
    return job.mistake("strategy.name", "one worker only, and job.workers is " + std::to_string(workers) + " (" +
                                            job.where("job.workers") +
                                            "); choose all_reduce, parameter_server or tensor, or one worker");
  }
  if (job.has("strategy.backup_workers"))
    return job.mistake("strategy.backup_workers", "backup workers are not available yet; remove the key");
  if (job.get_or("strategy.consistency", std::string()) == "bounded" && !job.has("strategy.staleness"))
    return job.mistake(
        "strategy.staleness",
        "missing; bounded needs the number of steps that a worker may run ahead, e.g. strategy.staleness = 3");
  return {};
}

Strategy strategy_of(const Config& job) {
  std::string name = job.get<std::string>("strategy.name");
  if (name == "all_reduce") return AllReduce{};
  if (name == "tensor") return Tensor{};
  if (name == "single") return Single{};
  ParameterServer ps;
  ps.servers = static_cast<int>(job.get<std::int64_t>("strategy.servers"));
  std::string consistency = job.get<std::string>("strategy.consistency");
  if (consistency == "async") ps.consistency = Asynchronous{};
  if (consistency == "bounded") ps.consistency = Bounded{static_cast<int>(job.get<std::int64_t>("strategy.staleness"))};
  return ps;
}

}  // namespace cohaul::strategy
