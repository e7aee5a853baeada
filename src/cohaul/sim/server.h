#pragma once
// A server's process: the real ps::Server, used as in ps/service.cpp.

#include <memory>
#include <string>
#include <vector>

#include "cohaul/base/random.h"
#include "cohaul/ps/arena_memory.h"
#include "cohaul/ps/outgoing.h"
#include "cohaul/ps/server.h"
#include "cohaul/sim/process.h"
#include "cohaul/sim/saving.h"
#include "cohaul/sim/witness.h"

namespace cohaul::sim {

class Server final : public Process, ps::ToWorkers {
 public:
  Server(const Scenario& scenario, ServerRank rank, Heart heart, Witness& witness, Saving& saving);
  /// Adds the connections to workers 0, 1, …, in this order.
  void connected(std::unique_ptr<transport::Channel> channel);

  ps::Stats tables() const { return server_.stats(); }
  ps::Stats coordinator() const { return server_.coordinator_stats(); }
  std::string waits_for() const override { return "workers"; }

 private:
  struct Peer {
    explicit Peer(std::unique_ptr<transport::Channel> c) : channel(std::move(c)), outgoing(*channel) {}
    std::unique_ptr<transport::Channel> channel;
    ps::Outgoing outgoing;
    Status failure;
    bool is_refused = false, is_given_up = false;
  };
  void work(Time now) override;
  Time next_work() const override { return written_at_; }
  bool is_finished() const override { return is_finished_; }
  std::vector<std::unique_ptr<transport::Channel>*> links() override;
  void send(WorkerRank to, const transport::Message& message) override;
  void serve(WorkerRank from, Peer& peer, Time now);
  void refuse(WorkerRank who, Peer& peer, const Status& why);

  Witness& witness_;
  Saving& saving_;
  Random random_;
  const Duration writing_max_;
  Time written_at_ = kForever;  // when its part of a checkpoint will be written
  ps::ArenaMemory memory_;
  SavingDisk disk_;
  ps::Server server_;
  /// By worker; declared after the server, because frames in the channels refer to its versions.
  std::vector<std::unique_ptr<Peer>> peers_;
  bool is_finished_ = false;
};

}  // namespace cohaul::sim
