#include "cohaul/sim/heart.h"

#include <utility>

namespace cohaul::sim {

void Heart::receive(Time now) {
  while (control_) {
    auto message = job::receive_control(*control_);
    if (!message.ok()) return drop("its connection closed: " + message.status().message(), now);
    if (!*message) return;
    traffic_.add(**message);
    session_.received(std::move(**message), now);
  }
}

void Heart::speak(Time now) {
  session_.advance(job::MemberSession::kWaits, "simulated", now);
  for (job::ControlMessage& m : session_.take_outgoing()) {
    if (!control_) return;
    traffic_.add(m);
    const Status sent = job::send_control(*control_, std::move(m));
    if (!sent.ok()) drop(sent.message(), now);
  }
  if (!session_.connected()) close();
}

void Heart::drop(const std::string& how, Time now) {
  close();
  session_.disconnected(how, now);
}

}  // namespace cohaul::sim
