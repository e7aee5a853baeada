#pragma once
// What the user chooses: one value that says where parameters live and how gradients travel.

#include <string_view>
#include <variant>

namespace cohaul::strategy {

/// One process owns everything.
struct Single {};

/// Every worker has the model; gradients are averaged over all, and each worker updates the part of the parameters that it owns.
struct AllReduce {};

/// Every push waits for all workers' of that step.
struct Synchronous {};
/// Every push is applied when it comes.
struct Asynchronous {};
/// Asynchronous, but nobody runs more than `staleness` steps ahead of the slowest. (Ho et al., "More effective distributed ML via a
/// stale synchronous parallel parameter server", NIPS 2013.)
struct Bounded {
  int staleness = 0;
};

/// Server processes own the parameters; workers push gradients and pull parameters.
struct ParameterServer {
  int servers = 1;
  std::variant<Synchronous, Asynchronous, Bounded> consistency = Synchronous{};
};

/// The layers that the factory splits are cut over all workers, which all compute the same batch.
struct Tensor {};

using Strategy = std::variant<Single, AllReduce, ParameterServer, Tensor>;

/// The name in job files: "all_reduce".
std::string_view name(const Strategy& strategy);
/// Servers that apply each push without waiting for the others of its step.
bool is_asynchronous(const Strategy& strategy);

}  // namespace cohaul::strategy
