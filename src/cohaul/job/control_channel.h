#pragma once
// Control messages on a channel.

#include <optional>

#include "cohaul/job/control.h"
#include "cohaul/transport/channel.h"

namespace cohaul::job {

/// Queues the message. Errors: those of Channel::send.
Status send_control(transport::Channel& channel, ControlMessage message);
/// The next message, if one has come. Errors: those of Channel::receive; corrupt.
Result<std::optional<ControlMessage>> receive_control(transport::Channel& channel);

}  // namespace cohaul::job
