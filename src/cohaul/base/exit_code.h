#pragma once
// Exit codes of Cohaul's processes.

#include "cohaul/base/status.h"

namespace cohaul {

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kUsersMistake = 2;
constexpr int kLost = 3;  // a process was lost, or a deadline passed

/// Returns the exit code of a process that fails with this code.
constexpr int exit_code(Code code) {
  switch (code) {
    case Code::ok: return kDone;
    case Code::invalid:
    case Code::unsupported: return kUsersMistake;
    case Code::peer_lost:
    case Code::unavailable: return kLost;
    default: return kFailed;
  }
}

}  // namespace cohaul
