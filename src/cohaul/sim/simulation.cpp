#include "cohaul/sim/simulation.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "cohaul/ps/server.h"
#include "cohaul/sim/network.h"
#include "cohaul/sim/witness.h"
#include "cohaul/sim/worker.h"

namespace cohaul::sim {
namespace {

constexpr std::int64_t kEventsMax = 2'000'000;

class Simulation {
 public:
  explicit Simulation(const Scenario& scenario)
      : scenario_(scenario),
        layout_(small_layout()),
        witness_(scenario, layout_),
        network_({scenario.seed, scenario.delay_max, scenario.by_address},
                 [this](Node from, Node to, transport::Frame frame) { deliver(from, to, std::move(frame)); }) {
    ps::Init init;
    init.consistency = scenario.consistency;
    init.rule.momentum = scenario.consistency.kind == ps::Consistency::Kind::sync ? 0.9 : 0;
    init.workers = scenario.workers;
    init.servers = scenario.servers;
    init.slices = scenario.slices;
    init.layout_hash = layout_.hash();
    for (std::int32_t k = 0; k < scenario.servers; ++k) servers_.push_back(std::make_unique<Place>(*this, k));
    for (std::int32_t w = 0; w < scenario.workers; ++w) {
      workers_.push_back(std::make_unique<Worker>(
          scenario_, layout_, init, w, network_, [this](const Worker& worker) { witness_.on_look(worker, workers_); }));
    }
  }

  Result<Report> run() {
    for (auto& worker : workers_) {
      for (auto& place : servers_) place->server.joined(WorkerRank(worker->rank()), Incarnation(1));
      network_.after(1 + 37 * worker->rank(), [&worker] {
        if (!worker->is_dead()) worker->start();
      });
    }
    for (const Death& death : scenario_.deaths) network_.after(death.at + 1, [this, death] { kill(death.worker); });
    for (std::int64_t i = 0; witness_.verdict().ok() && network_.step(); ++i) {
      if (i == kEventsMax) return corrupt("no end").context(scenario_.describe());
    }
    Report report;
    report.frames = network_.frames();
    for (auto& place : servers_) {
      ps::Stats s = place->server.stats();
      report.tables.pushes += s.pushes;
      report.tables.repeats += s.repeats;
      report.tables.staleness_sum += s.staleness_sum;
      report.tables.staleness_max = std::max(report.tables.staleness_max, s.staleness_max);
    }
    report.coordinator = servers_[0]->server.coordinator_stats();
    witness_.at_end(workers_, report.tables, report.coordinator);
    if (!witness_.verdict().ok()) return witness_.verdict();
    return report;
  }

 private:
  struct Place final : ps::ToWorkers {
    Place(Simulation& s, std::int32_t k) : simulation(s), rank(k), server(ServerRank(k), memory, *this) {}
    void send(WorkerRank to, const transport::Message& message) override {
      simulation.witness_.on_sent(to.value, message, simulation.workers_);
      simulation.network_.send({transport::Role::server, rank}, {transport::Role::worker, to.value}, message);
    }
    Simulation& simulation;
    const std::int32_t rank;
    ps::HeapMemory memory;
    ps::Server server;
  };

  void deliver(Node from, Node to, transport::Frame frame) {
    Status status;
    if (to.role == transport::Role::server) {
      auto kind = static_cast<ps::Kind>(frame.kind);
      status = servers_[to.rank]->server.on_frame(WorkerRank(from.rank), std::move(frame));
      // What a worker said before it died, and repeated after it was given up, may well be refused.
      if (workers_[from.rank]->is_dead() || workers_[from.rank]->is_finished()) status = {};
      if (!status.ok()) status = status.context("kind " + std::to_string(static_cast<int>(kind)));
    } else if (!workers_[to.rank]->is_dead()) {
      status = workers_[to.rank]->on_frame(ServerRank(from.rank), std::move(frame));
    }
    if (!status.ok() && failure_.ok()) failure_ = status;
  }

  /// The servers hear of it one after the other, each after all that it still gets from the dead.
  void kill(std::int32_t rank) {
    if (workers_[rank]->is_dead() || workers_[rank]->is_finished()) return;
    // Worker 0 brings the initial parameters: without them nobody can go on, so nothing could be seen.
    const auto& versions = workers_[rank]->versions();
    if (rank == 0 && std::any_of(versions.begin(), versions.end(), [](std::int64_t v) { return v < 0; })) return;
    workers_[rank]->kill();
    witness_.on_death(rank);
    network_.kill({transport::Role::worker, rank});
    for (std::size_t k = 0; k < servers_.size(); ++k) {
      network_.after(scenario_.delay_max * 4 + static_cast<Duration>(k),
                     [this, rank, k] { servers_[k]->server.lost(WorkerRank(rank)); });
    }
  }

  const Scenario scenario_;
  const update::Layout layout_;
  Witness witness_;
  std::vector<std::unique_ptr<Place>> servers_;
  std::vector<std::unique_ptr<Worker>> workers_;
  Network network_;  // last: what is in flight pins what servers have
  Status failure_;

 public:
  const Status& failure() const { return failure_; }
};

}  // namespace

Result<Report> simulate(const Scenario& scenario) {
  Simulation simulation(scenario);
  Result<Report> report = simulation.run();
  if (!simulation.failure().ok()) return simulation.failure().context(scenario.describe());
  return report;
}

}  // namespace cohaul::sim
