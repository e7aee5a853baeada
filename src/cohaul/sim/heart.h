#pragma once
// A member's side of the rendezvous: joins, sends heartbeats, hears of a loss, says goodbye; as job/control_client.h does it on a
// thread of its own, so it goes on while the process computes.

#include <memory>
#include <optional>

#include "cohaul/base/clock.h"
#include "cohaul/job/control_channel.h"
#include "cohaul/job/membership.h"

namespace cohaul::sim {

class Heart {
 public:
  Heart(job::MemberKey self, int workers, std::unique_ptr<transport::Channel> control, Duration peer_timeout);

  /// Takes what has come, and says what is due.
  void turn(Time now);
  /// When it must speak next.
  Time next_time() const { return control_ ? next_heartbeat_ : kForever; }

  void leave();
  void fail(const Status& why);
  void close() { control_.reset(); }

  bool assembled() const { return assembled_; }
  bool left() const { return left_; }
  const std::optional<job::Loss>& loss() const { return loss_; }
  transport::Channel* channel() { return control_.get(); }

 private:
  void send(job::ControlMessage message);
  void hear(const job::ControlMessage& message);

  const job::MemberKey self_;
  const int workers_;
  const Duration interval_;
  std::unique_ptr<transport::Channel> control_;
  Time next_heartbeat_ = 0;
  bool joining_ = false, assembled_ = false, leaving_ = false, left_ = false;
  std::optional<job::Loss> loss_;
};

}  // namespace cohaul::sim
