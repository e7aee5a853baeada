#pragma once
// All-reduce fused with the update: each rank owns a piece of every run, sums all ranks' gradients of it in tree order and
// applies the update rule in the same pass; new parameters come back. On one host the ranks may share one copy of the
// parameters: then nothing comes back but the word that they are new. This is safe because a rank gives its gradient after
// the parameter's last use in backward, and an owner writes only once it has all ranks' gradients.
// Work is done where it becomes possible: inside push() (so while backward still runs), the rest in finish().

#include <memory>
#include <vector>

#include "cohaul/collective/links.h"
#include "cohaul/transport/arena.h"
#include "cohaul/update/exchange.h"

namespace cohaul::collective {

struct AllReduceOptions {
  /// One copy of the parameters for all ranks, in memory that all of them map writable.
  bool shared_parameters = false;
  /// Gradients (and, where not shared, parameters) inside these travel as addresses to ranks of this host. They outlive the exchange.
  std::vector<const transport::Arena*> lend;
};

/// `layout`, `links` and `parameters` outlive the exchange. Errors of its calls: peer_lost (names the rank and what was waited for).
Result<std::unique_ptr<update::Exchange>> make_all_reduce_exchange(const update::Layout& layout,
                                                                   const update::RuleSettings& rule, Bytes parameters,
                                                                   Links& links, const AllReduceOptions& options);

}  // namespace cohaul::collective
