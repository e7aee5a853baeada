#pragma once
// Session: a worker's side of the conversation with its servers. A state machine without I/O: the exchange (client.h) runs it
// on sockets, the simulator runs the same class. An operation is begun by a call, and is over when busy() is false.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cohaul/base/ids.h"
#include "cohaul/base/status.h"
#include "cohaul/ps/host_plan.h"
#include "cohaul/ps/host_sums.h"
#include "cohaul/ps/messages.h"
#include "cohaul/ps/outbox.h"
#include "cohaul/transport/channel.h"
#include "cohaul/update/exchange.h"
#include "cohaul/update/gradient_squares.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/owner.h"

namespace cohaul::ps {

/// What worker 0 hears of an asynchronous update.
struct ToldUpdate {
  std::int64_t number = 0;  // updates done with it, from 1
  UpdateReport report;
};

/// What a worker shares with others of its host (host_plan.h).
struct OnHost {
  const HostPlan& plan;
  ToHost& out;
};

/// One thread. `layout`, `parameters` (Layout::bytes() long), `out` and what `host` refers to outlive it. Allocates at construction, and in the
/// first step with other slices.
class Session {
 public:
  /// host: where workers of a host speak to servers through one of them; synchronous mode.
  Session(const update::Layout& layout, const Init& init, WorkerRank rank, Bytes parameters, ToServers& out,
          std::optional<OnHost> host = {});

  /// Introduces this worker to all servers; worker 0's parameters become the initial ones; all pull them.
  void start();
  /// Pulls all partitions: what has changed since it has them travels.
  void refresh();
  /// Worker 0, outside of a step: what it has in `parameters` becomes what the servers keep. Others refresh() when that is over.
  void assign();

  /// Asynchronous modes: asks for the next step of a loop; when it has it, or the loop is over, pulls all partitions. invalid: facts that
  /// are too long.
  Status ask(const update::Loop& loop);
  /// After ask(): the step number, or nothing: the loop is over.
  std::optional<Step> granted() const { return granted_; }
  /// Asynchronous modes, outside of a step: this worker does no more of the loop; stop: nobody does.
  void leave_loop(std::int64_t loop, bool stop);
  /// What the coordinator said last (asynchronous modes).
  const LoopState& loop() const { return loop_; }
  /// Worker 0, asynchronous modes: the updates that it was told of, in their order. The caller takes them out.
  std::vector<ToldUpdate>& updates() { return updates_; }

  /// Exchange::set_rates. Outside of a step.
  void set_rates(std::span<const double> rates);
  /// A step: begin, push each part of each run once, finish. Gradients stay unchanged until the session is no longer busy with it.
  Status begin(const update::Work& work, std::string_view facts);
  Status push(const update::Gradient& gradient);
  /// invalid: not everything was pushed; a gradient is not finite, and the policy is stop.
  Status finish(std::span<const update::PartEnd> ends);
  /// Gives up a step of which nothing has been sent; a granted one may be begun again. invalid: something has.
  Status abandon();
  /// Before the first step: so many updates were done.
  void set_first(std::int64_t updates) { first_ = updates; }
  /// A step was begun, and neither finished nor given up.
  bool has_step() const { return work_.has_value(); }
  /// A part of a step has gone to servers, and not all of it.
  bool is_amid_step() const { return work_ && sent_any_; }
  const update::StepOutcome& outcome() const { return outcome_; }

  /// Worker 0, outside of a step: every server copies what it keeps, and writes it into the folder meanwhile; without a key it looks at it alone.
  void save(const Save& question);
  /// Worker 0, before the first step: every server takes its part from a checkpoint. Others refresh() when that is over.
  void restore(const std::string& checkpoint, std::int64_t updates);

  /// Worker 0, outside of a step: at every server, parameters and averages swap places. Others refresh() when that is over.
  void swap_averages();

  /// Asks every server what it has counted.
  void ask_stats();
  /// Sum over the servers' tables; and what the coordinator counted.
  const Stats& tables() const { return tables_; }
  const Stats& coordinator() const { return coordinator_; }

  void goodbye();

  /// Takes one frame. Errors: what the server refused; invalid (a gradient is not finite, and the policy is stop); corrupt. Sticky in the shell.
  Status on_frame(ServerRank from, transport::Frame frame);
  /// The same of one from a worker of this host.
  Status on_host_frame(WorkerRank from, transport::Frame frame);
  /// Whether it cannot go on without that worker of this host.
  bool waits_for(WorkerRank worker) const;
  /// Where the bytes of a frame's payload may be put as they come in: a partition that is being pulled. Else empty.
  Bytes place(std::uint16_t kind, std::int64_t clock, std::uint64_t key, std::uint64_t length);
  bool busy() const { return acks_missing_ + params_missing_ + facts_missing_ + answers_missing_ > 0; }
  /// Who has not answered: "server 1: the update of partition 3 and of 4 others". Empty when not busy.
  std::string missing() const;

  /// Its own steps so far.
  std::int64_t clock() const { return clock_; }

 private:
  struct PartitionState {
    ServerRank server;
    std::int64_t wanted = -1;   // version awaited; -1: none
    std::int64_t version = 0;   // known to contain all of this worker's pushes
    std::int64_t content = -1;  // what `parameters` has of it; -1: nothing of the servers'
    bool assigned = false;      // the answer to an assignment is awaited
    bool shared = false;        // of what is awaited: one worker of the host gets it for all
  };
  struct Pushed {  // a part of a run
    bool here = false;
    ConstBytes bytes;
    std::vector<std::byte> absent;
    double samples = 0;
  };
  bool is_sync() const { return init_.is_sync(); }
  /// Asynchronous steps are decided by their worker alone, when it has all of its gradients.
  bool watches() const { return init_.policy.watches(first_ + step_.value); }
  bool holds_back() const { return !is_sync() && init_.policy.needs_facts(); }
  void send(ServerRank to, Kind kind, std::int64_t clock, std::uint64_t key, ConstBytes payload = {},
            std::shared_ptr<const void> keep = nullptr);
  void await(Kind answer, std::int64_t count);
  bool awaits(Kind answer) const { return answers_missing_ > 0 && awaited_ == answer; }
  void pull(std::int32_t partition, std::int64_t at_least);
  void pull_all();
  Pushed& pushed(std::size_t part, std::size_t run) { return pushed_[part * layout_.runs().size() + run]; }
  Status send_push(std::size_t part, std::int32_t run, double factor);
  void push_to_server(std::size_t voice, std::int32_t partition, const Push& push, ConstBytes gradient);
  Status join(WorkerRank from, std::int32_t partition, const Push& push, ConstBytes gradient, transport::Frame frame);
  bool is_puller(std::size_t partition) const { return host_->plan.puller(partition) == rank_.value; }
  void pull_for_host(std::int32_t partition, std::int64_t at_least);
  void pass_on(std::int32_t partition, const transport::Frame& frame);
  ConstBytes gradient_of(const Pushed& pushed, std::int32_t partition) const;
  Status push_held();
  void step_done();
  Status on_ack(const transport::Frame& frame);
  Status on_params(const transport::Frame& frame);
  Status on_facts(ServerRank from, const transport::Frame& frame);
  Status on_assigned(const transport::Frame& frame);
  Status on_loop_state(Kind kind, const transport::Frame& frame);
  Status on_stats(const transport::Frame& frame);
  void ask_all(Kind kind, Kind answer, const std::vector<std::byte>& body);

  const update::Layout& layout_;
  const Init init_;
  const WorkerRank rank_;
  const Bytes parameters_;
  ToServers& out_;
  const std::optional<OnHost> host_;
  std::optional<HostSums> sums_;
  std::vector<transport::Frame> early_;  // parameters that came while backward runs

  std::vector<PartitionState> partitions_;  // and at the end one for the frozen parameters, if there are any
  std::vector<bool> keeps_;                 // by server: it keeps a partition
  std::int64_t params_missing_ = 0, answers_missing_ = 0;
  Kind awaited_ = Kind::grant;  // what those answers are: grant (or finished), left, step_report, assigned, stats

  std::int64_t clock_ = 0, step_clock_ = 0;  // now; at the last begin()
  std::int64_t assignments_ = 0, rates_set_ = 0, questions_ = 0;
  std::int64_t asked_loop_ = -1;
  std::optional<Step> granted_;
  LoopState loop_;

  std::optional<update::Work> work_;        // from begin() until all that it must say of the step is said
  Step step_{-1};                           // the last one begun
  std::int64_t first_ = 0;                  // updates before step 0
  std::vector<update::SliceRange> parts_;   // of its slices
  std::vector<Pushed> pushed_;              // by part, then run
  std::vector<std::size_t> parts_pushed_;   // by run
  std::vector<update::SliceRange> voices_;  // what goes to servers: parts, and sums of the host
  std::vector<bool> acks_;                  // awaited; by voice, then partition
  std::int64_t acks_missing_ = 0;
  std::string facts_of_step_;
  StepDone done_;
  bool sent_any_ = false, finishing_ = false;
  bool ended_ = false;  // the coordinator has been told of it
  update::StepOutcome outcome_;

  // Synchronous, where the policy needs facts.
  std::vector<bool> facts_;  // awaited; by server
  std::int64_t facts_missing_ = 0;
  update::GradientSquares squares_;   // of a watched step, as far as they have come
  std::optional<Measured> measured_;  // merged over the servers that have told

  std::vector<update::Contribution> contributions_;
  std::vector<ToldUpdate> updates_;
  Stats tables_, coordinator_;
  std::vector<std::byte> body_;
};

}  // namespace cohaul::ps
