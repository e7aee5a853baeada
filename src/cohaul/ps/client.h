#pragma once
// The parameter server, seen from a worker: an Exchange whose owners are the servers. The way on: session.h says what is said,
// server.h what comes of it, consistency.h when.

#include <memory>
#include <optional>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/job/job.h"
#include "cohaul/ps/messages.h"
#include "cohaul/ps/session.h"
#include "cohaul/transport/arena.h"
#include "cohaul/update/exchange.h"

namespace cohaul::ps {

struct Options {
  Consistency consistency{};
  int servers = 1;  // of the job, where it was launched with server processes
  int slices = 1;   // of a step's batch
  int trainer = 0;  // which of the job's: server processes serve the first, server threads one each
  std::vector<const transport::Arena*>
      lend{};  // gradients in these travel as addresses to servers of this host; they outlive the exchange
};

/// What was counted since the start, over all workers.
struct Counts {
  Stats tables;       // sum over the partitions of all servers: every push counts once for each partition
  Stats coordinator;  // every push counts once, with the maximum of its staleness over partitions
};

/// One thread, the one that trains. Waits end at the job's step_timeout_s (peer_lost, naming the server and what it owes) and
/// when the job loses somebody (peer_lost, who). Errors are sticky.
class ServerExchange : public update::Exchange {
 public:
  /// What this worker computes next, out of loop.end in all since the start; nothing: all are done. sync: its slices of the next
  /// step, at once. async, bounded: blocks until a step number is granted; then parameters() is fresh. When nothing is left,
  /// parameters() is what the servers have after the last push.
  virtual Result<std::optional<update::Work>> next(const update::Loop& loop) = 0;
  /// Worker 0, asynchronous modes: the updates worth telling since the last call.
  virtual std::vector<ToldUpdate> take_updates() = 0;
  /// Asks all servers; blocks for their answers. Not within a step.
  virtual Result<Counts> counts() = 0;
  /// Says goodbye; blocks until that is sent and the servers that run in this process (if any) are done, which they are when all workers
  /// have said it.
  virtual Status close() = 0;
};

/// Connects to all servers and introduces this worker; where the job has no server processes, worker w first starts the servers k with
/// k mod workers = w, each as a thread. Blocks until connected or the job's join timeout. `job`, `layout` and `parameters` (as in
/// Exchange) outlive it. Errors: invalid (settings that do not fit, or differ from another worker's), peer_lost.
Result<std::unique_ptr<ServerExchange>> make_server_exchange(job::Job& job, const update::Layout& layout,
                                                             const update::RuleSettings& rule, Bytes parameters,
                                                             const Options& options);

}  // namespace cohaul::ps
