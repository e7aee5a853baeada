#pragma once
// Session: a worker's side of the conversation with its servers. A state machine without I/O: the exchange (client.h) runs it
// on sockets, the simulator runs the same class. An operation is begun by a call, and is over when busy() is false.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cohaul/base/ids.h"
#include "cohaul/base/status.h"
#include "cohaul/ps/messages.h"
#include "cohaul/ps/outbox.h"
#include "cohaul/transport/channel.h"
#include "cohaul/update/exchange.h"
#include "cohaul/update/layout.h"

namespace cohaul::ps {

/// What worker 0 hears of an asynchronous update.
struct ToldUpdate {
  std::int64_t number = 0;  // updates done with it, from 1
  UpdateReport report;
};

/// One thread. `layout`, `parameters` (Layout::bytes() long) and `out` outlive it. Allocates at construction only.
class Session {
 public:
  Session(const update::Layout& layout, const Init& init, WorkerRank rank, Bytes parameters, ToServers& out);

  /// Introduces this worker to all servers; worker 0's parameters become the initial ones; all pull them.
  void start();
  /// Asynchronous modes: asks for the next step number; when it has it, or all steps are done, pulls all partitions.
  void ask(const update::Loop& loop);
  /// After ask(): the step number, or nothing: all steps are done.
  std::optional<Step> granted() const { return granted_; }
  /// Worker 0, asynchronous modes: the updates that it was told of, in their order. The caller takes them out.
  std::vector<ToldUpdate>& updates() { return updates_; }

  /// A step: begin, push each run once, finish. Gradients stay unchanged until the session is no longer busy with it.
  Status begin(const update::Work& work, const update::StepSettings& settings);
  Status push(std::int32_t run, ConstBytes gradient, std::span<const std::int32_t> absent);
  Status finish(double loss);
  const update::StepOutcome& outcome() const { return outcome_; }

  /// Asks every server what it has counted.
  void ask_stats();
  /// Sum over the servers' tables; and what the coordinator counted.
  const Stats& tables() const { return tables_; }
  const Stats& coordinator() const { return coordinator_; }

  void goodbye();

  /// Takes one frame. Errors: what the server refused; corrupt. Sticky in the shell.
  Status on_frame(ServerRank from, transport::Frame frame);
  /// Where the bytes of a frame's payload may be put as they come in: a partition that is being pulled. Else empty.
  Bytes place(std::uint16_t kind, std::uint64_t key, std::uint64_t length);
  bool busy() const { return acks_missing_ + params_missing_ + answers_missing_ > 0; }
  /// Who has not answered: "server 1: the update of partition 3 and of 4 others". Empty when not busy.
  std::string missing() const;

  /// Its own pushes so far.
  std::int64_t clock() const { return clock_; }

 private:
  struct PartitionState {
    ServerRank server;
    bool ack = false;          // awaited
    std::int64_t wanted = -1;  // version awaited; -1: none
    std::int64_t version = 0;  // known to contain all of this worker's pushes
  };
  bool is_sync() const { return init_.consistency.kind == Consistency::Kind::sync; }
  void send(ServerRank to, Kind kind, std::int64_t clock, std::uint64_t key, ConstBytes payload = {},
            std::shared_ptr<const void> keep = nullptr);
  void await(Kind answer, std::int64_t count);
  bool awaits(Kind answer) const { return answers_missing_ > 0 && awaited_ == answer; }
  void pull(std::int32_t partition, std::int64_t at_least);
  void pull_all();
  void encode_push(std::int32_t partition, std::span<const std::int32_t> absent);
  void step_done();
  Status on_ack(const transport::Frame& frame);
  Status on_params(const transport::Frame& frame);
  Status on_stats(const transport::Frame& frame);

  const update::Layout& layout_;
  const Init init_;
  const WorkerRank rank_;
  const Bytes parameters_;
  ToServers& out_;

  std::vector<PartitionState> partitions_;  // and at the end one for the frozen parameters, if there are any
  std::vector<bool> pushed_;                // by run, in this step
  std::int64_t acks_missing_ = 0, params_missing_ = 0;
  std::int64_t answers_missing_ = 0;
  Kind awaited_ = Kind::grant;  // what those answers are: grant (or finished), step_report, stats

  std::int64_t clock_ = 0, step_clock_ = 0;  // now; at the last begin()
  std::optional<Step> granted_;
  std::optional<update::Work> work_;  // from begin() until all that it must say of the step is said
  Step step_{-1};                     // the last one begun
  update::StepSettings settings_;
  bool finishing_ = false;
  std::int64_t staleness_ = 0;
  update::StepOutcome outcome_;
  std::vector<ToldUpdate> updates_;
  Stats tables_, coordinator_;
  std::vector<std::byte> body_, absent_bits_;
};

}  // namespace cohaul::ps
