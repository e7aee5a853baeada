#pragma once
// The strategies that a user can choose. A strategy says where parameters live and how gradients travel.

#include <string_view>
#include <variant>

namespace cohaul::strategy {

/// One process owns everything.
struct Single {};

/// Every worker has the model. Gradients are averaged over all workers, and each worker updates the part of the parameters that it owns.
struct AllReduce {};

/// A server updates when the gradients of all workers for the step have come. With the same slices, the result is the same for any number of workers.
struct Synchronous {};
/// A server applies each gradient as soon as it comes. Workers do not wait for each other's steps.
struct Asynchronous {};
/// Asynchronous, but no worker is more than `staleness` steps ahead of the slowest worker. (Ho et al., "More effective distributed ML via a stale
/// synchronous parallel parameter server", NIPS 2013.)
struct Bounded {
  int staleness = 0;
};

/// Servers own the parameters; workers push gradients and pull parameters. Servers are processes if the job was started with some, otherwise threads
/// of the workers.
struct ParameterServer {
  int servers = 1;
  std::variant<Synchronous, Asynchronous, Bounded> consistency = Synchronous{};
};

/// Tensor parallelism: the layers that parallel::Factory splits are divided among all workers, and all workers compute the same batch.
struct Tensor {};

using Strategy = std::variant<Single, AllReduce, ParameterServer, Tensor>;

/// Returns the strategy's name in job files, such as "all_reduce".
std::string_view name(const Strategy& strategy);
/// Returns whether the strategy is a parameter server that is Asynchronous or Bounded.
bool is_asynchronous(const Strategy& strategy);

}  // namespace cohaul::strategy
