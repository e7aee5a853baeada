#pragma once
// A worker's access to the parameter servers: an Exchange whose owners are the servers. session.h has the messages, server.h what a server does with
// them, consistency.h the decisions about waiting.

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
  int servers = 1;           // number of servers, where the job was started with server processes
  int slices = 1;            // slices of a step's batch; sync: at least one a worker
  int trainer = 0;           // number of the trainer in the job, the same at all workers
  std::vector<int> hosts{};  // by worker: the host, equal where workers share memory; empty: not known
  std::vector<const transport::Arena*>
      lend{};  // gradients in these arenas are sent to servers of this host by address; must outlive the exchange
  Watch* watch = nullptr;  // asked for losses and told of waits; null: the job. Must outlive the exchange
};

/// Counts since the start, over all workers.
struct Counts {
  Stats tables;       // sum over all partitions: a push counts once for each partition
  Stats coordinator;  // a step counts once, with its largest staleness over partitions
};

/// Only the training thread uses it. A wait ends after the job's step_timeout_s (peer_lost, naming the server and what is missing from it), and when
/// a member is lost (peer_lost, naming it). After an error every call returns the same error. Two functions of Exchange: write() at worker 0 sends
/// its parameters to the servers, and swap_averages() at worker 0 makes the servers swap. At other workers both only pull, so they are called after
/// worker 0's call has returned.
class ServerExchange : public update::Exchange {
 public:
  /// Returns what this worker computes next in the loop; nothing if the loop is over or this worker has left it.
  /// sync: returns at once with this worker's slices of the next step, as long as fewer than loop.end steps have been done since the start. async,
  /// bounded: asks for one of the loop's loop.end - loop.first steps, and blocks until it is granted; then parameters() is fresh. A worker that comes
  /// to a new loop waits until all workers have left the loop before. When no step is left, parameters() has what the servers have after the last
  /// push. invalid: the workers' loops differ.
  virtual Result<std::optional<update::Work>> next(const update::Loop& loop) = 0;
  /// Ends this worker's part in the loop of the last next(). A step that it was given and has not finished is returned (async: another worker gets
  /// it). stop: the loop ends for all workers (sync: all must leave at the same step). Not within a step that was begun.
  /// sync: returns at once. async, bounded: blocks until the coordinator has confirmed it.
  virtual Status leave_loop(bool stop) = 0;
  /// Returns the updates since the start, and the bounds of the current loop. sync: as counted here; async, bounded: as the coordinator last reported
  /// (in next() and leave_loop()). If the loop ended early, `end` is what was done.
  virtual LoopState loop() const = 0;
  std::int64_t updates_done() const { return loop().updates_done; }
  /// Returns the updates to be reported since the last call (worker 0, asynchronous modes).
  virtual std::vector<ToldUpdate> take_updates() = 0;
  /// Pulls all parameters, so that parameters() has what the servers have now. Blocks, at most until `deadline`. Not within a step.
  virtual Status refresh(Time deadline) = 0;
  /// Makes every server write what it keeps into the folder. Worker 0 calls it while all workers are between the same two steps. Blocks until all
  /// have finished. invalid: a server could not write; later calls can still succeed.
  virtual Status save(const std::string& folder, const std::string& key) = 0;
  /// Checks that all servers see the folder that has this mark (checkpoint::expect_shared). Worker 0 calls it outside of a step. Blocks for the
  /// answers. invalid: a server does not; later calls fail too.
  virtual Status look(const std::string& folder, const std::string& mark) = 0;
  /// Makes every server take its part from a checkpoint. updates: how many the checkpoint has. Worker 0 calls it before the first step. Blocks until
  /// all servers have done it; then all workers call refresh().
  virtual Status restore(const std::string& checkpoint, std::int64_t updates) = 0;
  /// Asks all servers for their counts, and blocks for the answers. Not within a step.
  virtual Result<Counts> counts() = 0;
  /// Says goodbye to the servers, and blocks until that is sent. Servers that run in this process go on until all workers have said goodbye; the
  /// job's close() waits for them. The destructor says goodbye without waiting, unless a part of a step has been sent or there was an error.
  virtual Status close() = 0;
};

/// Connects to all servers. Where the job has no server processes, worker w first starts the servers k with k mod workers = w, each on a thread that
/// ends and frees its memory when all workers have said goodbye. Blocks until connected, at most the job's join timeout. `job`, `layout` and
/// `parameters` (as in Exchange) must outlive the result. Errors: invalid (the settings are wrong, or differ from another worker's), peer_lost.
Result<std::unique_ptr<ServerExchange>> make_server_exchange(job::Job& job, const update::Layout& layout,
                                                             const update::OptimizerSettings& optimizer,
                                                             Bytes parameters, const Options& options);

}  // namespace cohaul::ps
