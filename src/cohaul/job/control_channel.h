#pragma once
// Control messages on a channel, and the loop of the threads that handle them.

#include <functional>
#include <optional>
#include <stop_token>

#include "cohaul/job/control.h"
#include "cohaul/transport/poller.h"

namespace cohaul::job {

/// Queues the message. Errors: those of Channel::send.
Status send_control(transport::Channel& channel, ControlMessage message);
/// The next message, if one has come. Errors: those of Channel::receive; corrupt.
Result<std::optional<ControlMessage>> receive_control(transport::Channel& channel);

/// Calls `turn` until a stop is requested: at once, then whenever the poller wakes or the time has come that the last call has returned.
void take_turns(const std::stop_token& stop, transport::Poller& poller, const std::function<Time()>& turn);

}  // namespace cohaul::job
