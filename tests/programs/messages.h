#pragma once
// Messages between the driver and the workers: a length of 64 bits, then the bytes.

#include <string>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"

namespace cohaul::programs {

/// Sends a message. unavailable: the other end is gone.
Status send_message(int socket, ConstBytes bytes);
/// Blocks until a whole message has come. end_s: deadline on CLOCK_MONOTONIC, 0: none (peer_lost).
Result<std::vector<std::byte>> receive_message(int socket, double end_s);

double now_s();
/// Return a listening or a connected socket at a path. Errors: internal.
Result<int> listen_at(const std::string& path);
Result<int> connect_to(const std::string& path);

}  // namespace cohaul::programs
