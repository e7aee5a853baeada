#pragma once
// The launcher's process: the real rendezvous and membership, used as in job/rendezvous_host.cpp.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "cohaul/job/rendezvous.h"
#include "cohaul/sim/scenario.h"
#include "cohaul/sim/traffic.h"
#include "cohaul/transport/channel.h"

namespace cohaul::sim {

class Launcher {
 public:
  using OnDecision = std::function<void(const job::Decision&, Time now)>;
  Launcher(const Scenario& scenario, OnDecision on_decision);

  void connected(std::unique_ptr<transport::Channel> channel);
  /// A child has ended, and the launcher learns of it at the time `at`.
  void ended(job::MemberKey who, const job::ProcessExit& how, Time at) { ends_.push_back({at, who, how}); }
  void turn(Time now);
  Time next_time() const;

  void kill();
  void stop(Time until) { stopped_until_ = until; }
  bool is_gone() const { return stopped_until_ == kForever; }
  const Traffic& traffic() const { return traffic_; }
  const job::Membership& membership() const { return rendezvous_.membership(); }

 private:
  struct End {
    Time at;
    job::MemberKey who;
    job::ProcessExit how;
  };
  bool serve(std::uint64_t id, transport::Channel& channel, Time now);

  job::Rendezvous rendezvous_;
  const OnDecision on_decision_;
  std::map<std::uint64_t, std::unique_ptr<transport::Channel>> channels_;
  std::vector<End> ends_;
  Time stopped_until_ = 0;
  Traffic traffic_;
};

}  // namespace cohaul::sim
