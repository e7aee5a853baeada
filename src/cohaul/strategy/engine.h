#pragma once
// Engine: a strategy at work. It says what this worker computes next and exchanges gradients for new parameters; the trainer
// asks it and knows no strategy by name.

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

/// What servers counted in an asynchronous mode, since the start or since the report before.
struct Asynchrony {
  double staleness_mean = 0;
  std::int64_t staleness_max = 0, gap_max = 0, pushes = 0;
};

/// An update that worker 0 is told of (asynchronous modes).
struct ReportedUpdate {
  std::int64_t number = 0;  // updates done with it, over all workers, from 1
  double loss = 0;          // of its batch, before the update
  Duration elapsed = 0;     // since the report before, or since the loop began
  Asynchrony asynchrony;    // of the pushes since the report before
};

struct LoopState {
  std::int64_t first = 0, end = 0, done = 0;
};

struct Capabilities {
  bool asynchronous = false;  // steps are handed out; losses are of single workers
  bool average = false;       // average(): the mean gradient for the user's own optimizer
  int data_parallel = 1;      // workers that share a step's batch
  bool alone = false;         // nobody else needs this worker's steps: one may be left out
};

/// Where this worker's part of a parameter lies in the whole one.
struct Place {
  std::uint64_t first = 0;  // elements before it
  bool saves = true;        // false: another worker has the same, and writes it into checkpoints
};

struct EngineOptions {
  const update::Layout* layout = nullptr;  // outlives the engine
  update::OptimizerSettings optimizer{};
  update::GradientPolicy policy{};
  int trainer = 0;                              // which of the job's, in the order that all workers make them
  int slices = 0;                               // of a step's batch; 0: one per data-parallel worker
  bool own_optimizer = false;                   // the user updates the parameters: every worker keeps a copy of its own
  std::vector<Place> places{};                  // of split layers, by parameter; empty: this worker has all, whole
  std::vector<const transport::Arena*> lend{};  // where gradients lie; they outlive the engine
  Watch* watch = nullptr;                       // whom waits ask and tell; null: the job. It outlives the engine
};

/// One thread. Errors are sticky.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual Capabilities capabilities() const = 0;
  virtual int slices() const = 0;
  virtual update::Exchange& exchange() = 0;
  /// The memory that exchange().parameters() lies in: whoever holds it may read them after the engine is gone.
  virtual std::shared_ptr<const void> memory() const = 0;
  /// What this worker computes next of the loop; nothing: all its steps are done. Synchronous ones answer at once; asynchronous ones block until
  /// a step is granted, and its parameters are in the exchange's then.
  virtual Result<std::optional<update::Work>> next(const update::Loop& loop) = 0;
  /// This worker does no more of the loop that next() was last asked for. unfinished: a step that it was given goes back. stop: the loop ends
  /// for all workers. Synchronous engines return at once; asynchronous ones block until it is confirmed, and hear how many updates are done: a call
  /// after all workers' last steps hears of all. Not within a step that was begun.
  virtual Status leave_loop(bool stop, bool unfinished) = 0;
  /// The loop that runs or ran last: first update, end (what was done, where it was ended early), and updates done since the start.
  virtual LoopState loop() const = 0;
  /// Worker 0 has changed exchange().parameters(): makes its content everybody's. All workers call it, having met; meet lets them meet again.
  virtual Status write(const std::function<Status()>& meet, Time deadline) = 0;
  /// Exchange::swap_averages at all workers, which have met; meet lets them meet again. When it returns, all have the averages in place of the
  /// parameters, or the parameters again. Not within an asynchronous loop.
  virtual Status swap_averages(const std::function<Status()>& meet, Time deadline) = 0;
  /// Asynchronous modes, worker 0: the updates worth telling since the last call, in their order. All are here when next() says that all is done.
  virtual std::vector<ReportedUpdate> take_reports() { return {}; }
  /// Of all workers, where the engine is made for an optimizer of the user's own and there are several; else null.
  virtual collective::Group* group() = 0;
  /// Asynchronous modes: what all servers counted so far. Blocks for an answer.
  virtual Result<std::optional<Asynchrony>> asynchrony() = 0;
  /// Copies what this worker owns into `memory`, for a checkpoint. At worker 0 servers copy what they own, and write it into `folder` meanwhile; what came of it
  /// they say in the job's store under `key` and their rank (checkpoint::text_of). Not within a step; all workers call it between the same two.
  /// Blocks until all is copied.
  virtual Result<std::vector<checkpoint::FileImage>> save(checkpoint::ImageMemory& memory, const std::string& folder,
                                                          const std::string& key) = 0;
  /// Worker 0, before save(): whether the servers see the folder of checkpoints that has this mark (checkpoint::expect_shared). Blocks for an answer.
  virtual Status look(const std::string& /*folder*/, const std::string& /*mark*/) { return {}; }
  /// Servers that save() lets write.
  virtual int saving_servers() const { return 0; }
  /// Before the first step: takes parameters and optimizer state from a verified checkpoint of so many updates. All workers call it; meet lets them
  /// meet. When it returns, all have them. invalid: the checkpoint does not fit.
  virtual Status restore(const std::string& checkpoint, std::int64_t updates, const std::function<Status()>& meet,
                         Time deadline) = 0;
  /// Says goodbye to servers and peers. Blocks shortly. All workers are through before.
  virtual Status close() = 0;
};

/// Connects to whom the strategy needs; blocks until all are there or the job's join timeout. `job` outlives the engine.
/// Errors: invalid (the strategy does not fit the job, with the fix), peer_lost.
Result<std::unique_ptr<Engine>> make_engine(const Strategy& strategy, job::Job& job, const EngineOptions& options);

}  // namespace cohaul::strategy
