#pragma once
// Engine: a strategy at work in one worker. It says what this worker computes next, and exchanges gradients for new parameters. The trainer uses this
// interface and knows no strategy by name.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/base/watch.h"
#include "cohaul/checkpoint/image.h"
#include "cohaul/collective/group.h"
#include "cohaul/job/job.h"
#include "cohaul/strategy/strategy.h"
#include "cohaul/transport/arena.h"
#include "cohaul/update/exchange.h"
#include "cohaul/update/gradient_policy.h"
#include "cohaul/update/optimizer_settings.h"

namespace cohaul::strategy {

/// What servers have counted in an asynchronous mode, since the start or since the last report.
struct Asynchrony {
  double staleness_mean = 0;
  std::int64_t staleness_max = 0, gap_max = 0, pushes = 0;
};

/// An update that worker 0 is told of, in asynchronous modes.
struct ReportedUpdate {
  std::int64_t number = 0;  // its number over all workers, from 1
  double loss = 0;          // loss of its batch, before the update
  Duration elapsed = 0;     // since the last report, or since the loop began
  Asynchrony asynchrony;    // over the pushes since the last report
};

struct LoopState {
  std::int64_t first = 0, end = 0, done = 0;
};

struct Capabilities {
  bool asynchronous = false;  // each worker is granted steps of its own; a loss is that of one worker
  bool average = false;       // Trainer::average() is possible: the mean gradient, for the user's own optimizer
  int data_parallel = 1;      // number of workers that a step's batch is divided among
  bool alone = false;         // there is no other worker, so this one may leave out a step
};

/// The position of this worker's part of a parameter within the whole parameter.
struct Place {
  std::uint64_t first = 0;  // number of elements before the part
  bool saves = true;        // false: another worker has the same part and writes it into checkpoints
};

struct EngineOptions {
  const update::Layout* layout = nullptr;  // must outlive the engine
  update::OptimizerSettings optimizer{};
  update::GradientPolicy policy{};
  int trainer = 0;              // number of the trainer in the job; all workers make their trainers in the same order
  int slices = 0;               // number of slices of a step's batch; 0: one per data-parallel worker
  bool own_optimizer = false;   // the user's own optimizer updates the parameters, and every worker keeps its own copy
  std::vector<Place> places{};  // for split layers, by parameter; empty: this worker has all parameters whole
  std::vector<const transport::Arena*> lend{};  // arenas that contain gradients; must outlive the engine
  /// Asked for losses of members and told of waits while the engine blocks; null: the job. Must outlive the engine.
  Watch* watch = nullptr;
};

/// One thread uses it. After an error every call returns the same error.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual Capabilities capabilities() const = 0;
  virtual int slices() const = 0;
  virtual update::Exchange& exchange() = 0;
  /// Returns the owner of the memory of exchange().parameters(): while it is held, the parameters can be read even after the engine is destroyed.
  virtual std::shared_ptr<const void> memory() const = 0;
  /// Returns what this worker computes next in the loop; nothing when all its steps are done. Synchronous engines return at once. Asynchronous
  /// engines block until a step is granted; then exchange().parameters() has the parameters for it.
  virtual Result<std::optional<update::Work>> next(const update::Loop& loop) = 0;
  /// Ends this worker's part in the loop of the last next(). unfinished: the step that it was given is returned. stop: the loop ends for all workers.
  /// Synchronous engines return at once. Asynchronous engines block until the coordinator has confirmed it and has said how many updates are done;
  /// after the last steps of all workers that includes all updates. Not to be called within a step that was begun.
  virtual Status leave_loop(bool stop, bool unfinished) = 0;
  /// Returns the loop that runs or ran last: its first update, its end (for a loop that ended early, what was done), and the updates since the start.
  virtual LoopState loop() const = 0;
  /// Gives worker 0's exchange().parameters(), which it has changed, to all workers and servers. All workers call it after they have met; it calls
  /// `meet` to let them meet again.
  virtual Status write(const std::function<Status()>& meet, Time deadline) = 0;
  /// Does Exchange::swap_averages at all workers, after they have met; it calls `meet` to let them meet again. When it returns, all have the averages
  /// in place of the parameters, or the parameters again. Not within an asynchronous loop.
  virtual Status swap_averages(const std::function<Status()>& meet, Time deadline) = 0;
  /// Returns the updates to be reported since the last call, in their order (worker 0, asynchronous modes). When next() returns nothing, all reports
  /// are here.
  virtual std::vector<ReportedUpdate> take_reports() { return {}; }
  /// Returns the group of all workers where there are several and the user's own optimizer updates; otherwise null.
  virtual collective::Group* group() = 0;
  /// Asks the servers for what they have counted so far, in asynchronous modes, and blocks for the answer.
  virtual Result<std::optional<Asynchrony>> asynchrony() = 0;
  /// Copies what this worker owns into `memory`, for a checkpoint. When worker 0 calls it, servers copy what they own and write it into `folder` in
  /// the background; each reports the result in the job's store under `key` and its rank (checkpoint::text_of). All workers call it between the same
  /// two steps. Blocks until everything is copied.
  virtual Result<std::vector<checkpoint::FileImage>> save(checkpoint::ImageMemory& memory, const std::string& folder,
                                                          const std::string& key) = 0;
  /// Checks that the servers see the same folder of checkpoints, by its mark (checkpoint::expect_shared). Worker 0 calls it before save(). Blocks for
  /// an answer.
  virtual Status look(const std::string& /*folder*/, const std::string& /*mark*/) { return {}; }
  /// Returns how many servers write files in save().
  virtual int saving_servers() const { return 0; }
  /// Takes parameters and optimizer state from a verified checkpoint, before the first step. updates: how many the checkpoint has. All workers call
  /// it; it calls `meet` to let them meet. When it returns, all workers have the parameters. invalid: the checkpoint does not fit.
  virtual Status restore(const std::string& checkpoint, std::int64_t updates, const std::function<Status()>& meet,
                         Time deadline) = 0;
  /// Says goodbye to servers and peers; blocks shortly. Called when all workers have finished.
  virtual Status close() = 0;
};

/// Makes the engine and connects it to the processes that the strategy needs. Blocks until all are connected, at most the job's join timeout. `job`
/// must outlive the engine. Errors: invalid (the strategy does not fit the job, with the fix), peer_lost.
Result<std::unique_ptr<Engine>> make_engine(const Strategy& strategy, job::Job& job, const EngineOptions& options);

}  // namespace cohaul::strategy
