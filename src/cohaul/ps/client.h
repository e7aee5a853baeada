#pragma once
// The parameter server, seen from a worker: an Exchange whose owners are the servers. The way on: session.h says what is said,
// server.h what comes of it, consistency.h when.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/base/watch.h"
#include "cohaul/job/job.h"
#include "cohaul/ps/messages.h"
#include "cohaul/ps/session.h"
#include "cohaul/transport/arena.h"
#include "cohaul/update/exchange.h"
#include "cohaul/update/gradient_policy.h"

namespace cohaul::ps {

struct Options {
  Consistency consistency{};
  update::GradientPolicy policy{};
  int servers = 1;           // of the job, where it was launched with server processes
  int slices = 1;            // of a step's batch; sync: at least one a worker
  int trainer = 0;           // which of the job's: all workers count alike
  std::vector<int> hosts{};  // by worker, equal where they share memory; empty: not known
  std::vector<const transport::Arena*>
      lend{};              // gradients in these travel as addresses to servers of this host; they outlive the exchange
  Watch* watch = nullptr;  // whom waits ask and tell; null: the job. It outlives the exchange
};

/// What was counted since the start, over all workers.
struct Counts {
  Stats tables;       // sum over the partitions of all servers: every push counts once for each partition
  Stats coordinator;  // every step counts once, with the maximum of its staleness over partitions
};

/// One thread, the one that trains. Waits end at the job's step_timeout_s (peer_lost, naming the server and what it owes) and
/// when somebody is lost (peer_lost, who). Errors are sticky. Of Exchange: write() at worker 0 gives its content to the servers, and
/// swap_averages() asks them; at the others both pull, so worker 0's must have returned before theirs begin.
class ServerExchange : public update::Exchange {
 public:
  /// What this worker computes next of the loop; nothing: the loop is over, or this worker has left it. sync: its slices of the next step, at
  /// once, below loop.end in all since the start. async, bounded: asks for a step out of loop.end - loop.first of all workers, and blocks until
  /// one is granted; then parameters() is fresh. A worker that comes to its next loop waits until all have left the one before. When nothing
  /// is left, parameters() is what the servers have after the last push. invalid: the workers' loops differ.
  virtual Result<std::optional<update::Work>> next(const update::Loop& loop) = 0;
  /// This worker does no more of the loop that next() was last asked for; a step that it was given and has not finished is taken back (async:
  /// and goes to others). stop: the loop ends for all workers (sync: all must leave at the same step). Not within a step that was begun.
  /// sync: returns at once. async, bounded: blocks until the coordinator has confirmed it.
  virtual Status leave_loop(bool stop) = 0;
  /// Updates since the start, and the bounds of the loop that runs. sync: as counted here; async, bounded: as the coordinator said last
  /// (in next() and leave_loop()). `end` is what was done where the loop was ended early.
  virtual LoopState loop() const = 0;
  std::int64_t updates_done() const { return loop().updates_done; }
  /// Worker 0, asynchronous modes: the updates worth telling since the last call.
  virtual std::vector<ToldUpdate> take_updates() = 0;
  /// Makes parameters() what the servers have now. Blocks, at most until `deadline`. Not within a step.
  virtual Status refresh(Time deadline) = 0;
  /// Worker 0, all workers between the same two steps: every server writes what it keeps into the folder. Blocks until all have. Returns their
  /// files; invalid: one could not be written (not sticky).
  virtual Status save(const std::string& folder, const std::string& key) = 0;
  /// Worker 0, outside of a step: whether all servers see the folder that has this mark (checkpoint::expect_shared). Blocks for an answer. invalid,
  /// and sticky: one does not.
  virtual Status look(const std::string& folder, const std::string& mark) = 0;
  /// Worker 0, before the first step: every server takes its part of a checkpoint of so many updates. Blocks until all have; then all refresh().
  virtual Status restore(const std::string& checkpoint, std::int64_t updates) = 0;
  /// Asks all servers; blocks for their answers. Not within a step.
  virtual Result<Counts> counts() = 0;
  /// Says goodbye; blocks until that is sent. Servers that run in this process go on until all workers have said it; the job's close()
  /// waits for them. The destructor says goodbye too, without waiting, unless a part of a step has been sent or there was an error.
  virtual Status close() = 0;
};

/// Connects to all servers and introduces this worker; where the job has no server processes, worker w first starts the servers k with
/// k mod workers = w, each as a thread that frees all it has when all workers have said goodbye. Blocks until connected or the job's join
/// timeout. `job`, `layout` and `parameters` (as in Exchange) outlive it. Errors: invalid (settings that do not fit, or differ from another
/// worker's), peer_lost.
Result<std::unique_ptr<ServerExchange>> make_server_exchange(job::Job& job, const update::Layout& layout,
                                                             const update::OptimizerSettings& optimizer,
                                                             Bytes parameters, const Options& options);

}  // namespace cohaul::ps
