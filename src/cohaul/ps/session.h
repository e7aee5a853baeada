#pragma once
// Session: a worker's side of the conversation with its servers. It is a state machine without I/O: client.h runs it on sockets, the simulator runs
// the same class. A call begins an operation; the operation is over when busy() is false.

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

/// An asynchronous update that is reported to worker 0.
struct ToldUpdate {
  std::int64_t number = 0;  // number of the update, from 1
  UpdateReport report;
};

/// For workers that talk to servers on other hosts together (host_plan.h): the plan, and messages to workers of the same host.
struct OnHost {
  const HostPlan& plan;
  ToHost& out;
};

/// One thread uses it. `layout`, `parameters` (Layout::bytes() long), `out` and the references in `host` must outlive it. It allocates at
/// construction, and in the first step with other slices.
class Session {
 public:
  /// host: set if workers of a host talk to servers through one of them (synchronous mode).
  Session(const update::Layout& layout, const Init& init, WorkerRank rank, Bytes parameters, ToServers& out,
          std::optional<OnHost> host = {});

  /// Introduces this worker to all servers. Worker 0's parameters become the initial ones, and all workers pull them.
  void start();
  /// Pulls all partitions. Only those are sent that have changed since the last pull.
  void refresh();
  /// Worker 0, outside of a step: sends its `parameters` to the servers, which keep them from then on. Other workers call refresh() when that is
  /// over.
  void assign();

  /// Asynchronous modes: asks for the next step of a loop. When it is granted, or the loop is over, all partitions are pulled. invalid: the facts are
  /// too long.
  Status ask(const update::Loop& loop);
  /// Returns the granted step after ask(); nothing: the loop is over.
  std::optional<Step> granted() const { return granted_; }
  /// Asynchronous modes, outside of a step: leaves the loop; stop: the loop ends for all workers.
  void leave_loop(std::int64_t loop, bool stop);
  /// Returns the loop as the coordinator last reported it (asynchronous modes).
  const LoopState& loop() const { return loop_; }
  /// Returns the updates reported to worker 0, in their order (asynchronous modes). The caller removes them.
  std::vector<ToldUpdate>& updates() { return updates_; }

  /// Does Exchange::set_rates. Outside of a step.
  void set_rates(std::span<const double> rates);
  /// A step consists of begin(), one push() for each part of each bucket, and finish(). Gradients must not change until the session is no longer busy
  /// with it.
  Status begin(const update::Work& work, std::string_view facts);
  Status push(const update::Gradient& gradient);
  /// Errors: invalid (not everything was pushed; a gradient is not finite, and the policy is stop).
  Status finish(std::span<const update::PartEnd> ends);
  /// Gives up a step of which nothing has been sent; a granted one may be begun again. invalid: something has been sent.
  Status abandon();
  /// Sets how many updates were done before the first step.
  void set_first(std::int64_t updates) { first_ = updates; }
  /// Returns whether a step was begun and neither finished nor given up.
  bool has_step() const { return work_.has_value(); }
  /// Returns whether a part of the current step has been sent to servers.
  bool is_amid_step() const { return work_ && sent_any_; }
  const update::StepOutcome& outcome() const { return outcome_; }

  /// Worker 0, outside of a step: makes every server copy what it keeps and write it into the folder in the background. Without a key the servers
  /// only check that they see the folder.
  void save(const Save& question);
  /// Worker 0, before the first step: makes every server take its part from a checkpoint. Other workers call refresh() when that is over.
  void restore(const std::string& checkpoint, std::int64_t updates);

  /// Worker 0, outside of a step: makes every server swap parameters and averages. Other workers call refresh() when that is over.
  void swap_averages();

  /// Asks every server for its counts.
  void ask_stats();
  /// Return the counts that came: the sum over the servers' tables, and those of the coordinator.
  const Stats& tables() const { return tables_; }
  const Stats& coordinator() const { return coordinator_; }

  void goodbye();

  /// Takes a frame from a server. Errors: what the server refused; invalid (a gradient is not finite, and the policy is stop); corrupt. The caller
  /// keeps an error, and does not use the session any more.
  Status on_frame(ServerRank from, transport::Frame frame);
  /// Takes a frame from a worker of this host.
  Status on_host_frame(WorkerRank from, transport::Frame frame);
  /// Returns whether it needs a message of that worker of this host to go on.
  bool waits_for(WorkerRank worker) const;
  /// Returns where the payload of an incoming frame can be written directly: into a partition that is being pulled. Empty otherwise.
  Bytes place(std::uint16_t kind, std::int64_t clock, std::uint64_t key, std::uint64_t length);
  bool busy() const { return acks_missing_ + params_missing_ + facts_missing_ + answers_missing_ > 0; }
  /// Returns what it waits for: "server 1: the update of partition 3 and of 4 others". Empty if not busy.
  std::string missing() const;

  /// Returns the number of its own steps so far.
  std::int64_t clock() const { return clock_; }

 private:
  struct PartitionState {
    ServerRank server;
    std::int64_t wanted = -1;   // version that is awaited; -1: none
    std::int64_t version = 0;   // version known to contain all of this worker's pushes
    std::int64_t content = -1;  // number of the content in `parameters`; -1: it is not from the server
    bool assigned = false;      // an answer to an assignment is awaited
    bool shared = false;        // one worker of the host gets the awaited version for all
  };
  struct Pushed {  // the gradient of a part of a bucket
    bool here = false;
    ConstBytes bytes;
    std::vector<std::byte> absent;
    double samples = 0;
  };
  bool is_sync() const { return init_.is_sync(); }
  /// Returns whether pushes wait until all gradients are here. In asynchronous modes, a worker decides alone about its step when it has all its
  /// gradients.
  bool watches() const { return init_.policy.watches(first_ + step_.value); }
  bool holds_back() const { return !is_sync() && init_.policy.needs_facts(); }
  void send(ServerRank to, Kind kind, std::int64_t clock, std::uint64_t key, ConstBytes payload = {},
            std::shared_ptr<const void> keep = nullptr);
  void await(Kind answer, std::int64_t count);
  bool awaits(Kind answer) const { return answers_missing_ > 0 && awaited_ == answer; }
  void pull(std::int32_t partition, std::int64_t at_least);
  void pull_all();
  Pushed& pushed(std::size_t part, std::size_t bucket) { return pushed_[part * layout_.buckets().size() + bucket]; }
  Status send_push(std::size_t part, std::int32_t bucket, double factor);
  void push_to_server(std::size_t voice, std::int32_t partition, const Push& push, ConstBytes gradient);
  Status add_to_sum(WorkerRank from, std::int32_t partition, const Push& push, ConstBytes gradient,
                    transport::Frame frame);
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
  std::vector<transport::Frame> early_;  // parameters that came while backward is running

  std::vector<PartitionState> partitions_;  // and one more at the end if there are frozen parameters
  std::vector<bool> keeps_;                 // by server: it keeps a partition
  std::int64_t params_missing_ = 0, answers_missing_ = 0;
  /// The kind of the missing answers: grant (or finished), left, step_report, assigned, stats.
  Kind awaited_ = Kind::grant;

  std::int64_t clock_ = 0, step_clock_ = 0;  // the present clock; the clock at the last begin()
  std::int64_t assignments_ = 0, rates_set_ = 0, questions_ = 0;
  std::int64_t asked_loop_ = -1;
  std::optional<Step> granted_;
  LoopState loop_;

  std::optional<update::Work> work_;        // set from begin() until the last message about the step has been sent
  Step step_{-1};                           // the last one begun
  std::int64_t first_ = 0;                  // updates before step 0
  std::vector<update::SliceRange> parts_;   // parts of this worker's slices
  std::vector<Pushed> pushed_;              // by part, then bucket
  std::vector<std::size_t> parts_pushed_;   // by bucket
  std::vector<update::SliceRange> voices_;  // the contributions that are sent to servers: parts, and sums of the host
  std::vector<bool> acks_;                  // acknowledgements that are awaited; by voice, then partition
  std::int64_t acks_missing_ = 0;
  std::string facts_of_step_;
  StepDone done_;
  bool sent_any_ = false, finishing_ = false;
  bool ended_ = false;  // the coordinator has been told of the step's end
  update::StepOutcome outcome_;

  // Synchronous, where the policy needs facts.
  std::vector<bool> facts_;  // by server: its facts are awaited
  std::int64_t facts_missing_ = 0;
  update::GradientSquares squares_;   // squares of a watched step's gradients, as far as they have come
  std::optional<Measured> measured_;  // merged over the servers whose facts have come

  std::vector<update::Contribution> contributions_;
  std::vector<ToldUpdate> updates_;
  Stats tables_, coordinator_;
  std::vector<std::byte> body_;
};

}  // namespace cohaul::ps
