#include "cohaul/sim/heart.h"

#include <algorithm>
#include <utility>

namespace cohaul::sim {

using job::ControlKind;
using job::ControlMessage;

namespace {

constexpr std::int64_t kJoin = 1, kLeave = 2;  // requests

ControlMessage message_of(ControlKind kind, std::int64_t request, std::string value) {
  ControlMessage message;
  message.kind = kind;
  message.request = request;
  message.value = std::move(value);
  return message;
}

job::Loss lost_launcher(const Status& why) {
  job::Loss loss;
  loss.who = {transport::Role::launcher, 0};
  loss.how = why.message();
  return loss;
}

}  // namespace

Heart::Heart(job::MemberKey self, int workers, std::unique_ptr<transport::Channel> control, Duration peer_timeout)
    : self_(self),
      workers_(workers),
      interval_(std::clamp(peer_timeout / 20, 20 * kMillisecond, 500 * kMillisecond)),
      control_(std::move(control)) {}

void Heart::turn(Time now) {
  while (control_) {
    auto message = job::receive_control(*control_);
    if (!message.ok()) {
      loss_ = lost_launcher(message.status());
      return close();
    }
    if (!*message) break;
    hear(**message);
  }
  if (!control_ || now < next_heartbeat_) return;
  if (!std::exchange(joining_, true)) {
    job::Member self;
    self.role = self_.role;
    self.rank = self_.rank;
    self.incarnation = Incarnation(1);
    ControlMessage join = job::make_join(self, workers_);
    join.request = kJoin;
    send(std::move(join));
  }
  send(message_of(ControlKind::heartbeat, 0, "simulated"));
  next_heartbeat_ = now + interval_;
}

void Heart::hear(const ControlMessage& message) {
  if (message.kind == ControlKind::reply) (message.request == kJoin ? assembled_ : left_) = true;
  if (message.kind != ControlKind::lost || loss_) return;
  auto loss = job::decode_loss(message.value);
  loss_ = loss.ok() ? *loss : lost_launcher(loss.status());
}

void Heart::leave() {
  if (!std::exchange(leaving_, true)) send(message_of(ControlKind::leave, kLeave, {}));
}

void Heart::fail(const Status& why) {
  ControlMessage failed = job::make_reply(0, why);
  failed.kind = ControlKind::failed;
  send(std::move(failed));
}

/// A channel that does not send does not receive, too: turn() finds out.
void Heart::send(ControlMessage message) {
  if (control_) (void)job::send_control(*control_, std::move(message)).ok();
}

}  // namespace cohaul::sim
