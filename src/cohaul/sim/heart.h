#pragma once
// A member's side of the rendezvous: the real job::MemberSession on a channel. As in job/control_client.cpp, which runs it on a thread of its own, it
// goes on while the process computes.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "cohaul/base/clock.h"
#include "cohaul/job/control_channel.h"
#include "cohaul/job/member_session.h"
#include "cohaul/sim/traffic.h"

namespace cohaul::sim {

class Heart {
 public:
  Heart(std::unique_ptr<transport::Channel> control, Duration peer_timeout)
      : control_(std::move(control)), session_({.peer_timeout = peer_timeout}, 0) {}

  /// Handles the messages that have come.
  void receive(Time now);
  /// Sends the messages that are due.
  void speak(Time now);
  /// Returns when it must run next.
  Time next_time() const { return control_ ? session_.next_time() : kForever; }
  void close() { control_.reset(); }

  job::MemberSession& session() { return session_; }
  const job::MemberSession& session() const { return session_; }
  const std::optional<job::Loss>& loss() const { return session_.loss(); }
  const Traffic& traffic() const { return traffic_; }
  transport::Channel* channel() { return control_.get(); }

 private:
  void drop(const std::string& how, Time now);

  std::unique_ptr<transport::Channel> control_;
  job::MemberSession session_;
  Traffic traffic_;
};

}  // namespace cohaul::sim
