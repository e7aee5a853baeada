#include "cohaul/sim/simulation.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "cohaul/base/random.h"
#include "cohaul/sim/launcher.h"
#include "cohaul/sim/server.h"
#include "cohaul/sim/stub.h"
#include "cohaul/sim/witness.h"
#include "cohaul/sim/worker.h"
#include "cohaul/transport/sim_network.h"

namespace cohaul::sim {
namespace {

using transport::Role;

constexpr int kIdleMax = 100;
constexpr Time kEnd = 30 * kSecond;  // far more than any schedule needs

class Simulation {
 public:
  explicit Simulation(const Scenario& scenario)
      : scenario_(scenario),
        layout_(small_layout()),
        random_(scenario.seed, 1),
        witness_(scenario_, layout_),
        network_(
            {.seed = scenario.seed, .delay_min = 1, .delay_max = scenario.delay_max, .one_host = scenario.one_host}),
        launcher_(scenario_, [this](const job::Decision& d, Time now) { witness_.on_decision(d, now); }),
        pending_(scenario.faults) {
    ps::Init init;
    init.consistency = scenario.consistency;
    init.policy = scenario.policy;
    init.optimizer = stub_rule(scenario.is_sync());
    init.workers = scenario.workers;
    init.servers = scenario.servers;
    init.slices = scenario.slices;
    init.layout_hash = layout_.hash();
    for (std::int32_t k = 0; k < scenario.servers; ++k) {
      servers_.push_back(
          std::make_unique<Server>(scenario_, ServerRank(k), heart_of({Role::server, k}), witness_, saving_));
    }
    for (std::int32_t w = 0; w < scenario.workers; ++w) {
      workers_.push_back(
          std::make_unique<Worker>(scenario_, layout_, init, w, heart_of({Role::worker, w}), witness_, saving_));
    }
    connect();
  }

  Result<Report> run() {
    int idle = 0;  // rounds in a row in which time did not advance
    while (witness_.verdict().ok() && !is_over() && now() < kEnd) {
      Time before = now();
      if (saving_.arrived > 0 && !saving_.committed) saving_.moments.push_back(before);
      strike();
      for (Process* p : processes_) turn(*p);
      launcher_.turn(now());
      Time next = next_time();
      if (!network_.step(next)) network_.advance_to(std::min(next, kEnd));
      idle = now() > before ? 0 : idle + 1;
      if (idle > kIdleMax) witness_.on_spinning();
    }
    Report report;
    report.trace = network_.trace();
    report.faults = struck_;
    if (launcher_.membership().loss()) report.lost = launcher_.membership().loss()->who;
    for (auto& server : servers_) {
      ps::Stats s = server->tables();
      report.tables.pushes += s.pushes;
      report.tables.repeats += s.repeats;
      report.tables.staleness_sum += s.staleness_sum;
      report.tables.staleness_max = std::max(report.tables.staleness_max, s.staleness_max);
    }
    report.coordinator = servers_[0]->coordinator();
    report.result.assign(workers_[0]->parameters().begin(), workers_[0]->parameters().end());
    report.left_early = witness_.left_early();
    report.skipped = witness_.skipped();
    report.committed = saving_.committed;
    report.moments = saving_.moments;
    report.end = now();
    if (saving_.committed) witness_.on_committed(saving_);
    witness_.at_end({processes_.begin(), processes_.end()}, report.tables, report.coordinator);
    if (!witness_.verdict().ok()) return witness_.verdict().context("trace " + std::to_string(report.trace));
    return report;
  }

 private:
  static transport::Identity identity(Role role, std::int32_t rank) {
    transport::Identity who;
    who.role = role;
    who.rank = rank;
    who.incarnation = Incarnation(1);
    return who;
  }

  Heart heart_of(job::MemberKey who) {
    auto [ours, launchers] = network_.connect(identity(who.role, who.rank), identity(Role::launcher, 0));
    launcher_.connected(std::move(launchers));
    return {std::move(ours), scenario_.peer_timeout};
  }

  void connect() {
    for (auto& worker : workers_) {
      for (auto& server : servers_) {
        auto [at_worker, at_server] =
            network_.connect(identity(Role::worker, worker->who().rank), identity(Role::server, server->who().rank));
        worker->connected(std::move(at_worker));
        server->connected(std::move(at_server));
      }
    }
    for (auto& worker : workers_) processes_.push_back(worker.get());
    for (auto& server : servers_) processes_.push_back(server.get());
  }

  Time now() const { return network_.clock().now(); }

  Time next_time() const {
    Time next = launcher_.next_time();
    for (const Process* p : processes_) next = std::min(next, p->next_time());
    for (const Fault& f : pending_) {
      if (f.at > now()) next = std::min(next, f.at);
    }
    return next;
  }

  bool is_over() const {
    const job::Membership& membership = launcher_.membership();
    if (!membership.finished() && !membership.loss() && !launcher_.is_gone()) return false;
    return std::all_of(processes_.begin(), processes_.end(), [](const Process* p) {
      return p->state() != Process::State::running || p->is_stopped_for_good();
    });
  }

  void turn(Process& p) {
    if (p.state() != Process::State::running) return;
    p.turn(now());
    if (p.state() == Process::State::running) return;
    if (p.state() == Process::State::failed) witness_.on_failed(p, now());
    ended(p, {.by_signal = false, .code = p.state() == Process::State::failed ? 3 : 0});
  }

  void ended(const Process& p, const job::ProcessExit& how) {
    if (scenario_.is_reaped)
      launcher_.ended(p.who(), how, now() + static_cast<Duration>(random_.below(scenario_.delay_max)));
  }

  /// Injects the faults that are due.
  void strike() {
    for (std::size_t i = 0; i < pending_.size();) {
      if (!may_strike(pending_[i])) {
        ++i;
        continue;
      }
      Fault fault = pending_[i];
      pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
      if (fault.who.role == Role::launcher) {
        strike_launcher(fault);
      } else if (Process& p = process(fault.who); p.state() == Process::State::running) {
        strike(fault, p);
      }
    }
  }

  bool may_strike(const Fault& fault) const {
    if (now() < fault.at) return false;
    // If the other workers are to go on after the fault, they must have begun, with the initial parameters, which worker 0 brings.
    bool spares = scenario_.goes_on && fault.is_fatal(scenario_.peer_timeout);
    if (!spares) return true;
    bool begun = fault.who.rank != 0 || workers_[0]->has_begun();
    return begun && launcher_.membership().assembled();
  }

  void strike_launcher(const Fault& fault) {
    ++struck_;
    witness_.on_fault(fault, now());
    if (fault.kind == Fault::Kind::kill) return launcher_.kill();
    launcher_.stop(fault.lasts == kForever ? kForever : now() + fault.lasts);
  }

  void strike(const Fault& fault, Process& p) {
    bool one_road = fault.kind == Fault::Kind::cut || fault.kind == Fault::Kind::hold;
    transport::Channel* road = one_road ? p.road(fault.peer) : nullptr;
    if (one_road && road == nullptr) return;
    ++struck_;
    witness_.on_fault(fault, now());
    Time until = fault.lasts == kForever ? kForever : now() + fault.lasts;
    switch (fault.kind) {
      case Fault::Kind::kill:
        for (transport::Channel* r : p.roads()) {
          if (random_.below(2) == 0) network_.cut(*r);
        }
        p.kill();
        ended(p, {.by_signal = true, .code = 9});
        return;
      case Fault::Kind::stop: p.stop(until); return;
      case Fault::Kind::slow: p.slow_down(fault.lasts); return;
      case Fault::Kind::hold: network_.hold(*road, until); return;
      case Fault::Kind::cut: network_.cut(*road); return;
    }
  }

  Process& process(job::MemberKey who) {
    if (who.role == Role::worker) return *workers_[who.rank];
    return *servers_[who.rank];
  }

  const Scenario scenario_;
  const update::Layout layout_;
  Random random_;
  Saving saving_;
  Witness witness_;
  transport::SimNetwork network_;
  Launcher launcher_;
  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Process*> processes_;
  std::vector<Fault> pending_;
  std::int64_t struck_ = 0;
};

}  // namespace

Result<Report> simulate(const Scenario& scenario) { return Simulation(scenario).run(); }

}  // namespace cohaul::sim
