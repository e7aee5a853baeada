#pragma once
// All-reduce fused with the update: each rank owns a piece of every bucket, sums all ranks' gradients of it in tree
// order and applies the update rule in the same pass; the new parameters come back. The ranks of a host may share one
// copy of the parameters. Then nothing comes back within the host but a message that they are new. This is safe
// because they are written only once every rank has sent its end of the step, which it does after backward. Between
// hosts sums and new parameters go once, however many ranks a host has (reduce_plan.h). rank_session.h says which
// messages are sent when; the exchange runs it on links.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cohaul/collective/links.h"
#include "cohaul/transport/arena.h"
#include "cohaul/update/exchange.h"
#include "cohaul/update/gradient_policy.h"
#include "cohaul/update/optimizer_settings.h"

namespace cohaul::collective {

struct AllReduceOptions {
  /// By rank: equal where ranks are on one host. Empty: all are.
  std::vector<int> hosts{};
  /// One copy of the parameters for all ranks of a host, in memory that all of them map writable.
  bool shared_parameters = false;
  /// Of a step's batch, over all ranks; >= ranks. Rank r has update::deal_slices(slices, hosts)[r].
  std::int32_t slices = 1;
  update::GradientPolicy policy{};
  /// Named in errors.
  std::string group = "trainer 0";
  /// Gradients (and, where not shared, parameters) inside these travel as addresses to ranks of this host. They must
  /// outlive the exchange.
  std::vector<const transport::Arena*> lend{};
};

/// Makes the exchange. `layout`, `links` and `parameters` must outlive it. Errors here: invalid (settings that make
/// no sense). Errors of its calls: peer_lost (names the rank and what was waited for), invalid (ranks do not agree;
/// one has left; a gradient is not finite and the policy is stop), corrupt. Its destructor tells the others, as far
/// as that goes without waiting, that this rank does no more steps.
Result<std::unique_ptr<update::Exchange>> make_all_reduce_exchange(const update::Layout& layout,
                                                                   const update::OptimizerSettings& optimizer,
                                                                   Bytes parameters, Links& links,
                                                                   const AllReduceOptions& options);

}  // namespace cohaul::collective
