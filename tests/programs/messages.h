#pragma once
// Messages between the driver and the workers: 64 bits of length, then the bytes.

#include <string>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"

namespace cohaul::programs {

/// unavailable: the other end is gone.
Status send_message(int socket, ConstBytes bytes);
/// Blocks for a whole message; end_s: on CLOCK_MONOTONIC, 0 for no end (peer_lost).
Result<std::vector<std::byte>> receive_message(int socket, double end_s);

double now_s();
/// A listening or a connected socket at a path. internal.
Result<int> listen_at(const std::string& path);
Result<int> connect_to(const std::string& path);

}  // namespace cohaul::programs
