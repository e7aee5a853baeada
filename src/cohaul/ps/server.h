#pragma once
// Server: keeps its part of the partitions; server 0 also has the coordinator. It is a state machine without I/O: frames go in, messages come out
// through ToWorkers. service.h runs it on sockets; the simulator runs the same class.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cohaul/base/ids.h"
#include "cohaul/base/status.h"
#include "cohaul/ps/coordinator.h"
#include "cohaul/ps/disk.h"
#include "cohaul/ps/frozen.h"
#include "cohaul/ps/memory.h"
#include "cohaul/ps/messages.h"
#include "cohaul/ps/outbox.h"
#include "cohaul/ps/table.h"
#include "cohaul/transport/channel.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/owner.h"

namespace cohaul::ps {

/// One thread uses it. It learns its settings from the first worker's init; all other workers must send the same.
class Server {
 public:
  /// `memory`, `out` and `disk` must outlive it; disk: null if it has none. The server must outlive the channels to which its messages go, because
  /// they refer to versions of its parameters.
  Server(ServerRank rank, Memory& memory, ToWorkers& out, Disk* disk = nullptr);
  ~Server();

  /// A worker has connected, or a restarted one. (A worker that only reconnects has the same incarnation; nothing changes.)
  void connected(WorkerRank worker, Incarnation incarnation);
  /// Takes one frame. Errors (invalid, corrupt, peer_lost) say what the worker did wrong. Then the state of the server has not changed; the caller
  /// reports the error to the worker and disconnects it.
  Status on_frame(WorkerRank from, transport::Frame frame, Time now);
  /// A worker has died.
  void lost(WorkerRank worker);

  /// Returns the settings; nothing before the first init.
  const std::optional<Init>& init() const { return init_; }
  /// Returns whether all workers have said goodbye or were lost.
  bool is_done() const { return init_ && gone_ == init_->workers; }
  /// Returns the counts of all its tables.
  Stats stats() const;
  /// Returns the coordinator's counts; zeros if the coordinator is not in this server.
  Stats coordinator_stats() const { return coordinator_ ? coordinator_->stats() : Stats{}; }
  /// Returns the memory used by parameters (all versions) and optimizer state.
  std::size_t memory_bytes() const;

 private:
  struct Worker {
    Incarnation incarnation;
    bool introduced = false, gone = false;
  };
  Status on_init(WorkerRank from, const transport::Frame& frame);
  Status set_up(const Init& init, ConstBytes encoded_layout);
  Status on_known(WorkerRank from, Kind kind, transport::Frame frame, Time now);
  Status on_table(WorkerRank from, Kind kind, transport::Frame frame);
  Status on_push(WorkerRank from, Table& table, transport::Frame frame);
  Status on_plan(WorkerRank from, const transport::Frame& frame);
  void send_facts();
  void send(WorkerRank to, Kind kind, std::int64_t clock, ConstBytes payload = {},
            std::shared_ptr<const void> keep = nullptr);
  Status on_disk(WorkerRank from, Kind kind, const transport::Frame& frame);
  Status save(WorkerRank to, const transport::Frame& frame);
  Status restore(WorkerRank to, const transport::Frame& frame);
  std::vector<update::StatePiece> pieces(std::vector<std::byte>& values);
  Status on_rates(WorkerRank from, const transport::Frame& frame);
  Status on_swap(WorkerRank from, const transport::Frame& frame);
  Status on_frozen(WorkerRank from, Kind kind, const transport::Frame& frame);
  Status on_coordinator(WorkerRank from, Kind kind, const transport::Frame& frame, Time now);
  void leave(WorkerRank worker);

  const ServerRank rank_;
  Memory& memory_;
  ToWorkers& out_;
  Disk* const disk_;
  std::optional<Init> init_;
  std::unique_ptr<const update::Layout> layout_;
  std::unique_ptr<update::Owner> owner_;
  std::vector<std::unique_ptr<Table>> tables_;  // by partition; null: another server has it
  std::size_t tables_here_ = 0;
  // Synchronous mode with a policy that needs facts: when all tables have measured a step, the server waits for a plan.
  std::size_t measured_ = 0;  // tables
  std::int64_t step_ = 0;     // the step that was measured last, or the one after the last plan's
  std::optional<update::StepPlan> last_plan_;
  std::int64_t swap_ = 0;       // number of worker 0's last request to swap averages
  std::int64_t rates_set_ = 0;  // how often rates have been set; the rates set last
  std::vector<double> rates_;
  std::optional<Coordinator> coordinator_;  // server 0's
  std::optional<Frozen> frozen_;            // server 0's
  std::vector<Worker> workers_;
  std::int32_t gone_ = 0;
  std::vector<std::byte> body_;
};

}  // namespace cohaul::ps
